import { expect, test } from "vitest";
import { batchStorm } from "../support/batch-storm.ts";

const seed = Number(process.env.SEED ?? 1);

test("a batch over shared documents, its coordinator and a worker of each kind killed -9 three times: every line once, each document computed once", async () => {
  const report = await batchStorm({ lines: 240, documents: 6, words: 400, seed, ms: 400_000 });
  expect(report.faults, `SEED=${seed}`).toEqual([]);
  expect(report.kills).toBe(9);
  expect(report.batch).toMatchObject({
    status: "completed",
    request_counts: { total: 240, completed: 240, failed: 0 },
    error_file_id: null,
  });
  // Usage tells of a job what it found at its first claim. So each job of the two slots of a prefill worker that was killed, three times, may count
  // as its own, once more, what another job of its document computed before it was taken over; without sharing it would be forty times as much.
  expect(report.sharedComputed).toBeGreaterThanOrEqual(report.sharedTokens);
  expect(report.sharedComputed).toBeLessThanOrEqual(report.sharedTokens + 3 * 2 * (report.sharedTokens / 6));
}, 600_000);
