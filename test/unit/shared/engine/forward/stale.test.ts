import { describe, expect, test } from "vitest";
import { grow, type Sequence } from "../../../../../services/shared/engine/sequence.ts";
import { availablePaths, bitsFrom, digest, goldenIds, Timelines } from "../../../../support/timeline.ts";

// Memory holds whatever an earlier call left in it: nothing may be read that the call, or an earlier one of the sequence, did not write.

const NAN = 0xff; // of every byte: NaN as F32 and BF16, -1 as I32
const VOCAB = 48;

describe.each(availablePaths())("t1, kernel path %s", (kernelPath) => {
  test.each(["exact", "serving"] as const)("%s: a workspace, rings and pages full of NaN change no bit", (mode) => {
    const ids = goldenIds("t1");
    const model = new Timelines("t1", { mode, kernelPath, segmentTokens: 8, rowsMax: ids.length });
    try {
      const clean = model.open();
      const expected = model.run(clean, ids);
      for (const length of [1, 3, 7, ids.length]) {
        const dirty = poisoned(model.open(), ids.length);
        for (let at = 0; at < ids.length; at += length) {
          model.means.work.at("ids", [1]).buffer.bytes.fill(NAN);
          const logits = model.feed({ sequence: dirty, ids: ids.subarray(at, at + length) });
          expect(bitsFrom(logits, VOCAB), `chunk of ${length} at ${at}`).toBe(
            bitsFrom(expected.subarray(at * VOCAB, (at + length) * VOCAB), VOCAB),
          );
        }
        expect(digest(model.boundary(dirty).bytes)).toBe(digest(model.boundary(clean).bytes));
        expect(dirty.pages.map(({ bytes }) => digest(bytes))).toEqual(clean.pages.map(({ bytes }) => digest(bytes)));
      }
    } finally {
      model.release();
    }
  });
});

/** With all the pages it will need, and no byte of state or page that it could rely on. */
function poisoned(sequence: Sequence, tokens: number): Sequence {
  grow(sequence, tokens);
  for (const { bytes } of [sequence.state, ...sequence.pages]) bytes.fill(NAN);
  return sequence;
}
