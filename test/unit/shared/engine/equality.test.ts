import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { boundarySpans, readBoundary } from "../../../../services/shared/engine/boundary.ts";
import type { Sequence } from "../../../../services/shared/engine/sequence.ts";
import { seededRandom } from "../../../../services/shared/runtime/random.ts";
import { nativeOf } from "../../../support/kernels/orders.ts";
import { availablePaths, bitsFrom, digest, goldenIds, slowPaths, Timelines } from "../../../support/timeline.ts";

// I7: on one path and mode the same tokens give the same bits, whatever the chunks, the batch, the threads, and where the KV came from.

const seed = Number(process.env.SEED ?? 20261123);
const paths = availablePaths();
const modes = ["exact", "serving"] as const;

/** Small enough that every position and every path can be tried. Segments of 8 tokens: five of them, and windows of 4 that wrap. */
describe.each(paths.flatMap((kernelPath) => modes.map((mode) => ({ kernelPath, mode }))))(
  "t1, $kernelPath, $mode",
  ({ kernelPath, mode }) => {
    const ids = goldenIds("t1");
    const vocab = 48;
    let model: Timelines;
    let whole: Float32Array;
    beforeAll(() => {
      model = new Timelines("t1", { mode, kernelPath, segmentTokens: 8, rowsMax: 120 });
      whole = model.run(model.open(), ids);
    });
    afterAll(() => model.release());

    test.each([1, 2, 3, 4, 5, 7, 8, 9, 39])("chunks of %i give the bits of the whole prompt", (length) => {
      expect(bitsFrom(model.run(model.open(), ids, length), vocab)).toEqual(bitsFrom(whole, vocab));
    });

    test(`random chunks give the bits of the whole prompt, SEED=${seed}`, () => {
      const random = seededRandom(seed);
      for (let round = 0; round < 10; round++) {
        const lengths = Array.from({ length: 40 }, () => 1 + (random.u32() % 13));
        expect(bitsFrom(model.run(model.open(), ids, ...lengths), vocab), `chunks ${lengths}`).toEqual(bitsFrom(whole, vocab));
      }
    });

    test("a boundary resumes at every position, over stored segments, in one chunk or in steps; over more of them than lie before it, it writes none", () => {
      const complete = model.open();
      model.run(complete, ids);
      const before = complete.pages.map(({ bytes }) => digest(bytes));
      for (let position = 0; position < ids.length; position++) {
        const sequence = model.open();
        model.run(sequence, ids.subarray(0, position));
        const segments = Math.floor(position / 8);
        for (const [over, count, lengths] of [
          [sequence, segments, []],
          [sequence, segments, [1]],
          [complete, 5, [5]],
        ] as const) {
          const resumed = resume(model, sequence, over, count);
          expect(bitsFrom(model.run(resumed, ids.subarray(position), ...lengths), vocab), `from ${position} in ${lengths}`).toEqual(
            bitsFrom(whole, vocab, position),
          );
        }
      }
      expect(complete.pages.map(({ bytes }) => digest(bytes))).toEqual(before);
    });

    test("chunks and steps of several sequences in one call give each the bits it has alone", () => {
      const shifted = (by: number) => ids.map((id) => (id + by) % vocab);
      const prompts = [ids, shifted(7), shifted(20)] as const;
      const alone = prompts.map((prompt) => model.run(model.open(), prompt));
      const sequences = prompts.map(() => model.open());
      const cuts = [
        [5, 1, 34],
        [1, 1, 38],
        [13, 1, 26],
      ] as const;
      for (let call = 0; call < 3; call++) {
        const feeds = sequences.map((sequence, s) => ({
          sequence,
          ids: prompts[s]!.subarray(sequence.position, sequence.position + cuts[s]![call]!),
        }));
        const starts = sequences.map(({ position }) => position);
        const together = model.feed(...feeds);
        let row = 0;
        for (const [s, { ids: fed }] of feeds.entries()) {
          const ours = together.subarray(row * vocab, (row + fed.length) * vocab);
          const expected = alone[s]!.subarray(starts[s]! * vocab, (starts[s]! + fed.length) * vocab);
          expect(bitsFrom(ours, vocab), `sequence ${s}, call ${call}`).toEqual(bitsFrom(expected, vocab));
          row += fed.length;
        }
      }
    });

    test("one thread gives the bits of two", () => {
      const single = new Timelines("t1", { mode, kernelPath, segmentTokens: 8, rowsMax: 40, threads: 1 });
      expect(bitsFrom(single.run(single.open(), ids), vocab)).toEqual(bitsFrom(whole, vocab));
      single.release();
    });
  },
);

/**
 * The official formats and window sizes. The slow paths see fewer tokens, past one window, one segment and one HCA entry, and step where these end;
 * software twins only where no path is here that gives their bits (test/contract/kernels.test.ts): it sees them all.
 */
const t2Paths = paths.filter((kernelPath) => nativeOf(kernelPath, paths) === undefined);
const t2Runs = t2Paths.flatMap((kernelPath) =>
  slowPaths.includes(kernelPath)
    ? [{ kernelPath, mode: "serving" as const, tokens: 150, cuts: [[127, 1], [127], [129]] }]
    : modes.map((mode) => ({ kernelPath, mode, tokens: 700, cuts: [[1], [3], [127], [128], [129]] })),
);

describe.each(t2Runs)("t2, $kernelPath, $mode", ({ kernelPath, mode, tokens, cuts }) => {
  const ids = goldenIds("t2").subarray(0, tokens);
  const vocab = 192;
  const layers = 5;
  const window = 128;
  let model: Timelines;
  let whole: Float32Array;
  let complete: Sequence;
  beforeAll(() => {
    model = new Timelines("t2", { mode, kernelPath, segmentTokens: 128, rowsMax: 700 });
    complete = model.open();
    whole = model.run(complete, ids);
  });
  afterAll(() => model.release());

  test.each(cuts.map((lengths) => ({ lengths })))("chunks of $lengths give the bits of the whole prompt", ({ lengths }) => {
    expect(bitsFrom(model.run(model.open(), ids, ...lengths), vocab)).toEqual(bitsFrom(whole, vocab));
  });

  test("export and import at every 128 tokens, then one chunk", () => {
    const sequence = model.open();
    for (let position = 128; position < tokens; position += 128) {
      model.run(sequence, ids.subarray(position - 128, position), 100);
      const resumed = resume(model, sequence, sequence, position / 128);
      expect(bitsFrom(model.run(resumed, ids.subarray(position)), vocab), `from ${position}`).toEqual(bitsFrom(whole, vocab, position));
    }
  });

  if (tokens < layers * window) return; // too short to begin a replay behind position 0
  test("a replay of layers x (window - 1) tokens over the stored rows equals; one less differs, in the last layer only", () => {
    const end = 640;
    const undisturbed = model.open();
    model.run(undisturbed, ids.subarray(0, end));
    const replayed = (length: number): Sequence => {
      const position = end - length;
      const sequence = model.open({ position, first: position, exactFrom: end }, complete, end / 128);
      model.run(sequence, ids.subarray(position, end));
      return sequence;
    };
    const differingLayers = (sequence: Sequence): number[] => {
      const [ours, theirs] = [boundarySpans(sequence), boundarySpans(undisturbed)];
      return [...new Set(ours.flatMap(({ layer, place }, i) => (Buffer.compare(place, theirs[i]!.place) === 0 ? [] : [layer])))];
    };
    const exact = replayed(layers * (window - 1));
    expect(differingLayers(exact)).toEqual([]);
    expect(bitsFrom(model.run(exact, ids.subarray(end)), vocab)).toEqual(bitsFrom(whole, vocab, end));
    expect(differingLayers(replayed(layers * (window - 1) - 1))).toEqual([layers - 1]);
  });
});

/** A new sequence where `sequence` stands, from copies of nothing but its boundary and the first segments of `over`. */
function resume(model: Timelines, sequence: Sequence, over: Sequence, segments: number): Sequence {
  const { position, bytes } = model.boundary(sequence);
  const resumed = model.open({ position, first: 0, exactFrom: position }, over, segments);
  readBoundary(resumed, bytes);
  return resumed;
}
