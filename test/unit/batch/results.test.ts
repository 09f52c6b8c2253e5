import { expect, test } from "vitest";
import { Results } from "../../../services/batch/results.ts";
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
