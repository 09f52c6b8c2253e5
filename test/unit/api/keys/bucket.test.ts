import { expect, test } from "vitest";
import { Bucket } from "../../../../services/api/keys/bucket.ts";

test("what takes nothing need not wait for what was larger than the bucket", () => {
  const bucket = new Bucket(100, 0);
  bucket.take(1_000, 0);
  expect(bucket.secondsUntil(0, 0)).toBe(0);
  expect(bucket.secondsUntil(1, 0)).toBeCloseTo((901 * 60) / 100, 6);
});
