import { expect, test } from "vitest";
import { SegmentClaims } from "../../../services/prefill/segment-claims.ts";
import type { SegmentKey, SegmentStore } from "../../../services/shared/segments/contract.ts";
import type { Context } from "../../../services/shared/worker/context.ts";
import { VirtualClock } from "../../support/virtual-clock.ts";

test("the claims of a chunk are renewed by what it gets done, three times in their life, and end with those of the chunk before", async () => {
  const clock = new VirtualClock();
  const claimed: string[] = [];
  const ended: string[] = [];
  const store: Partial<SegmentStore> = {
    claim: async (key) => {
      claimed.push(key);
      return true;
    },
    unclaim: async (key) => void ended.push(key),
  };
  const context = { ids: new Int32Array(5 * 128 + 1), segmentTokens: 128, key: (index: number) => `${index}` as SegmentKey };
  const claims = new SegmentClaims(store as SegmentStore, clock, context as unknown as Context, "job", 3_000);
  expect(await claims.take(1)).toBe(true);
  await claims.end();
  expect([claimed.splice(0), ended.splice(0)]).toEqual([["1"], ["1"]]);
  await claims.cover(1, 2);
  await claims.cover(3, 9); // of which five are whole
  expect(claimed.splice(0)).toEqual(["1", "2", "3", "4"]);
  for (let ms = 0; ms < 3_100; ms += 100) {
    await clock.run(clock.sleep(100));
    claims.renew();
  }
  expect(claimed).toEqual(["3", "4", "3", "4"]);
  await claims.end();
  expect(ended).toEqual(["1", "2", "3", "4"]);
});
