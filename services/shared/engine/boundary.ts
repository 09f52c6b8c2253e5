import { refusal } from "../runtime/errors.ts";
import { joined } from "../runtime/joined.ts";
import { bytesIn, type Tensor } from "./kernels.ts";
import type { Block } from "./layout.ts";
import { layerKind } from "./model-config.ts";
import { ringRows } from "./rings.ts";
import { pageRows, type Sequence } from "./sequence.ts";

/** Serialises what a sequence needs at its position beside its segments (spec 3.1; docs/formats-payload.md). */
export const writeBoundary = (sequence: Sequence): Uint8Array =>
  joined(
    Uint8Array,
    boundarySpans(sequence).map(({ place }) => place),
  );

/** Restores a boundary of the sequence's position. Throws INVALID_REQUEST unless it has that position's size. */
export function readBoundary(sequence: Sequence, bytes: Uint8Array): void {
  const spans = boundarySpans(sequence);
  const expected = spans.reduce((sum, { place }) => sum + place.length, 0);
  if (bytes.length !== expected)
    throw refusal(`a boundary at ${sequence.position} has ${expected} bytes in ${sequence.layout.name}, not ${bytes.length}`);
  let at = 0;
  for (const { place, shared } of spans) {
    if (!shared) place.set(bytes.subarray(at, at + place.length));
    at += place.length;
  }
}

/**
 * A piece of a boundary, where the sequence keeps it. `shared`: in a page of others, which holds these bytes already.
 */
interface BoundarySpan {
  readonly layer: number;
  readonly part: "window" | "overlap" | "partial" | "index overlap" | "index partial" | "entries" | "keys";
  readonly place: Uint8Array;
  readonly shared: boolean;
}

/** All pieces of the boundary at the sequence's position, in format order: by layer, then by part as named above. */
export function boundarySpans(sequence: Sequence): BoundarySpan[] {
  const { position, layout } = sequence;
  const spans: BoundarySpan[] = [];
  for (const [layer, { ratio, entries, keys }] of layout.layers.entries()) {
    const state = sequence.layers[layer]!;
    const add = (part: BoundarySpan["part"], places: Uint8Array[], shared = false) => {
      for (const place of places) spans.push({ layer, part, place, shared });
    };
    const windowRows = Math.min(position, state.window.shape[0]! - 1);
    add("window", ringRows(state.window, position - windowRows, windowRows));
    if (state.compressor !== null) {
      add("overlap", overlapRows(state.compressor, ratio, position));
      add("partial", ringRows(state.compressor, position - (position % ratio), position % ratio));
    }
    if (state.indexer !== null) {
      add("index overlap", overlapRows(state.indexer, ratio, position));
      add("index partial", ringRows(state.indexer, position - (position % ratio), position % ratio));
    }
    const shared = tailStart(sequence) < sequence.stored;
    if (entries !== null) add("entries", tailRows(sequence, entries, ratio), shared);
    if (keys !== null) add("keys", tailRows(sequence, keys, ratio), shared);
  }
  return spans;
}

/** The end of the last whole segment at or before the position. */
const tailStart = ({ position, layout }: Sequence): number => position - (position % layout.segmentTokens);

/** Compressed rows after the last whole segment. */
function tailRows(sequence: Sequence, block: Block, ratio: number): Uint8Array[] {
  const first = tailStart(sequence) / ratio;
  return pageRows(sequence, block, first, Math.floor(sequence.position / ratio) - first).map(bytesIn);
}

/**
 * The last complete window before `position`: the first half of each row's k, then of its z.
 * Empty without overlap or before the first window.
 */
function overlapRows(ring: Tensor, ratio: number, position: number): Uint8Array[] {
  if (layerKind(ratio) !== "csa" || position < ratio) return [];
  const start = position - (position % ratio) - ratio;
  const halves: Uint8Array[] = [];
  for (let i = 0; i < ratio; i++)
    for (const row of ringRows(ring, start + i, 1)) {
      const quarter = row.length / 4;
      halves.push(row.subarray(0, quarter), row.subarray(2 * quarter, 3 * quarter));
    }
  return halves;
}
