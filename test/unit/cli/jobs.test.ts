import { expect, test, vi } from "vitest";
import type { Client } from "../../../services/cli/client.ts";
import { listJobs } from "../../../services/cli/commands/jobs.ts";

test("a job is listed though a replica of another version does not say when it was submitted", async () => {
  const data = [{ id: "job_new", prompt_tokens: 5, created_at: 0 }, { id: "job_old" }];
  const get = async (path: string) => (path === "/v1/jobs?limit=10" ? { data } : { status: "queued", output_tokens: 0, prefill: null });
  const print = vi.spyOn(console, "log").mockReturnValue();
  await listJobs({ get } as Partial<Client> as Client, 10);
  const [lines] = print.mock.calls[0] as [string];
  print.mockRestore();
  const [, ...rows] = lines.split("\n");
  expect(rows.map((row) => row.split(/ +/))).toEqual([
    ["job_new", "queued", "5", "0", "1970-01-01T00:00:00.000Z"],
    ["job_old", "queued", "0"],
  ]);
});
