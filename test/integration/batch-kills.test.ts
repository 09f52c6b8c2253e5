import { expect, test } from "vitest";
import { batchStorm } from "../support/batch-storm.ts";

const seed = Number(process.env.SEED ?? 1);

test("a batch over shared documents, its coordinator and a worker killed -9 three times: every line once, each document computed once", async () => {
  const report = await batchStorm({ lines: 240, documents: 6, words: 400, seed, ms: 150_000 });
  expect(report.faults, `SEED=${seed}`).toEqual([]);
  expect(report.kills).toBe(6);
  expect(report.batch).toMatchObject({
    status: "completed",
    request_counts: { total: 240, completed: 240, failed: 0 },
    error_file_id: null,
  });
  // A killed worker's chunks in flight are computed again, nothing else.
  expect(report.sharedComputed).toBeLessThanOrEqual(report.sharedTokens + 2 * 2 * 512);
}, 240_000);
