import { joined } from "../runtime/joined.ts";
import { bytesIn, type Tensor } from "./kernels.ts";
import type { Sequence } from "./sequence.ts";

/** The ring's rows of positions [start, start + count), in at most two pieces. */
export function ringRows(ring: Tensor, start: number, count: number): Uint8Array[] {
  const bytes = bytesIn(ring);
  const slots = ring.shape[0]!;
  const rowBytes = bytes.length / slots;
  const head = Math.min(count, slots - (start % slots));
  const cut = (slot: number, rows: number) => bytes.subarray(slot * rowBytes, (slot + rows) * rowBytes);
  return [cut(start % slots, head), cut(0, count - head)].filter((piece) => piece.length > 0);
}

/**
 * Saves the rows that the next `draft` tokens after the first will overwrite, so that those tokens can be rolled back
 * (spec 3.1, rollback). Once they have run, the returned function moves the sequence back to a position after the
 * first. `draft` must be less than the slots of every ring: see draftMax. Compressed rows are not rolled back: rows
 * past the position are rewritten before they are read.
 */
export function keepRings(sequence: Sequence, draft: number): (position: number) => void {
  const from = sequence.position + 1;
  const kept = ringsOf(sequence).map((ring) => ({ ring, bytes: joined(Uint8Array, ringRows(ring, from, draft)) }));
  return (position) => {
    for (const { ring, bytes } of kept) {
      let at = (bytes.length / draft) * (position - from);
      for (const place of ringRows(ring, position, from + draft - position)) {
        place.set(bytes.subarray(at, at + place.length));
        at += place.length;
      }
    }
    sequence.position = position;
  };
}

const ringsOf = ({ layers }: Sequence): Tensor[] =>
  layers.flatMap(({ window, compressor, indexer }) => [window, compressor, indexer].filter((ring) => ring !== null));
