import { expect, test } from "vitest";
import { newBatch } from "../../../services/api/files/batches.ts";
import { type LineResult, Results, withResults } from "../../../services/batch/results.ts";
import { nothingUsed } from "../../../services/shared/batches/batch.ts";
import { PART_BYTES } from "../../../services/shared/batches/file.ts";

const result = (characters: number) => ({ line: 0, kind: "output" as const, text: "x".repeat(characters), usage: nothingUsed });

test("what has ended waits for its part a second, or a hundredth of the time its batch has run; a full part waits for nothing", () => {
  const results = new Results();
  expect(results.isDue(1e9, 1e9)).toBe(false);
  results.add(result(1), 5_000);
  results.add(result(1), 5_900); // the first one counts
  const isDue = (afterMs: number, runningMs: number) => results.isDue(5_000 + afterMs, runningMs);
  expect([isDue(999, 0), isDue(1_000, 0), isDue(1_000, 100_000)]).toEqual([false, true, true]);
  expect([isDue(35_999, 3_600_000), isDue(36_000, 3_600_000)]).toEqual([false, true]);
  results.add(result(PART_BYTES - 3), 5_900);
  expect(isDue(0, 3_600_000)).toBe(false);
  results.add(result(1), 5_900);
  expect(isDue(0, 3_600_000)).toBe(true);
  expect(results.take()).toHaveLength(4);
  expect([results.take(), results.bytes]).toEqual([[], 0]);
  results.add(result(1), 9_000);
  expect([results.isDue(9_999, 0), results.isDue(10_000, 0)]).toEqual([false, true]);
});

test("results add to what was there before: lines, parts, what they used, and which lines are done; that was no attempt in vain", () => {
  const used = (n: number) => ({ inputTokens: n, cachedTokens: 10 * n, outputTokens: 100 * n, reasoningTokens: 1_000 * n });
  const part = (key: string) => ({ key, bytes: 1 });
  const request = { input_file_id: "file-1", endpoint: "/v1/completions", completion_window: "24h" } as const;
  const batch = {
    ...newBatch("batch_1", "t", { ...request, metadata: undefined, output_expires_after: undefined }, 0),
    ...{ total: 10, attempt: 3, usage: used(1), output: { lines: 2, parts: [part("a")] } },
    done: Buffer.of(0b11, 0).toString("base64"),
  };
  const ended = (line: number, kind: LineResult["kind"], n: number): LineResult => ({ line, kind, text: "{}", usage: used(n) });
  const results = [ended(2, "output", 2), ended(9, "errors", 4)];
  expect(withResults(batch, results, { output: [part("b")], errors: [part("c")] })).toEqual({
    output: { lines: 3, parts: [part("a"), part("b")] },
    errors: { lines: 1, parts: [part("c")] },
    usage: used(7),
    done: Buffer.of(0b111, 0b10).toString("base64"),
    attempt: 0,
  });
});
