import fc from "fast-check";
import { expect, test } from "vitest";
import { ChunkSize } from "../../../../services/shared/worker/chunk-size.ts";

const LAYERS = 4;

/** Computes chunks that take what `msOf` says, and tells their sizes. */
function sizes(chunks: number, tokensMax: number, chunkMs: number, msOf: (tokens: number, position: number) => number): number[] {
  let nowMs = 0;
  const clock = { nowMs: () => nowMs, monotonicMs: () => nowMs, sleep: async () => {}, after: () => () => {} };
  const size = new ChunkSize({ clock, tokensMax, chunkMs });
  let position = 0;
  return Array.from({ length: chunks }, () => {
    const tokens = size.next;
    nowMs += 10_000; // it waits for another job's chunk
    for (let layer = 1; layer <= LAYERS; layer++) {
      nowMs += msOf(tokens, position) / LAYERS;
      size.onLayer(tokens, layer, LAYERS);
    }
    position += tokens;
    return tokens;
  });
}

test("chunks grow to the largest there may be while that is quick", () => {
  expect(sizes(6, 2_048, 4_000, (tokens) => tokens / 10)).toEqual([256, 512, 1_024, 2_048, 2_048, 2_048]);
});

test("a slow machine computes small ones, and one that fits nothing the smallest", () => {
  expect(sizes(4, 2_048, 4_000, (tokens) => 10 * tokens)).toEqual([256, 384, 384, 384]);
  expect(sizes(3, 2_048, 4_000, (tokens) => 100 * tokens)).toEqual([256, 128, 128]);
  expect(sizes(3, 96, 4_000, (tokens) => tokens)).toEqual([96, 96, 96]);
});

test("whatever a token costs, and however that grows along the prompt, a chunk takes about as long as it should", () => {
  fc.assert(
    fc.property(fc.double({ min: 0.01, max: 20, noNaN: true }), fc.double({ min: 0, max: 0.001, noNaN: true }), (fixed, growing) => {
      const msOf = (tokens: number, position: number) => tokens * (fixed + growing * position);
      let position = 0;
      for (const tokens of sizes(50, 16_384, 4_000, msOf)) {
        if (position > 0 && tokens > 128) expect(tokens * (fixed + growing * Math.max(0, position - tokens))).toBeLessThanOrEqual(8_000);
        position += tokens;
      }
    }),
  );
});
