import { expect, test, vi } from "vitest";
import type { Client } from "../../../services/cli/client.ts";
import { listJobs } from "../../../services/cli/commands/jobs.ts";
import { ServingError } from "../../../services/shared/runtime/errors.ts";

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

test("a job that the API could not look at is not told to be purged", async () => {
  const client = (failure: ServingError) => {
    const get = async (path: string) => {
      if (path.startsWith("/v1/jobs?")) return { data: [{ id: "job_one" }] };
      throw failure;
    };
    return { get } as Partial<Client> as Client;
  };
  const print = vi.spyOn(console, "log").mockReturnValue();
  await listJobs(client(new ServingError("NOT_FOUND", "no such job")), 10);
  expect(print.mock.calls.join()).toContain("job_one  purged");
  await expect(listJobs(client(new ServingError("UNAVAILABLE", "the record is away")), 10)).rejects.toThrow("the record is away");
  print.mockRestore();
});
