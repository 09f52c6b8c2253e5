import { refusal } from "../runtime/errors.ts";
import type { Sealed } from "./engine.ts";
import { bytesInLines, createBuffer, createPage, type Dtype, type NativeBuffer, type Tensor, TensorList, tensor } from "./kernels.ts";
import type { Block, PayloadLayout } from "./layout.ts";
import { layerKind, type ModelConfig } from "./model-config.ts";

/**
 * One timeline of tokens: pages of compressed rows, and the state that exists at its position only.
 *
 * A page is a segment payload, whether it came from the store, is sealed, or is the growing tail: sealing hands over
 * the page itself. Others share the pages below `stored`, so these are never written.
 */
export interface Sequence {
  readonly layout: PayloadLayout;
  readonly pages: NativeBuffer[];
  /** The same pages as the kernels see them. */
  readonly list: TensorList;
  /** Tokens covered by the pages the sequence was opened with: a multiple of segmentTokens. */
  readonly stored: number;
  /** No window rows exist before this position: 0, or where a replay began. */
  readonly first: number;
  /** From here on all state is that of an uninterrupted run; before, a replay is still rebuilding the windows. */
  readonly exactFrom: number;
  readonly layers: readonly LayerState[];
  readonly state: NativeBuffer;
  /** How often each id occurs in the answer that steps have fed: what penalties count. */
  readonly counts: Map<number, number>;
  position: number;
}

/** Rings, indexed by position modulo their length. */
interface LayerState {
  /** U8 [window, rowBytes]: KV rows of the last tokens. */
  readonly window: Tensor;
  /** F32 [slots, 2, width]: k and z + ape of the incomplete window's tokens and, with overlap, of the window before. */
  readonly compressor: Tensor | null;
  readonly indexer: Tensor | null;
}

/** Where a sequence continues: see Engine.open. */
export interface Continuation {
  readonly position: number;
  readonly first: number;
  readonly exactFrom: number;
}

/**
 * Takes over `segments` unless it throws:
 * INVALID_REQUEST for one of another size, OVERLOADED without memory. State starts at zero.
 */
export function createSequence(config: ModelConfig, layout: PayloadLayout, segments: readonly NativeBuffer[], at: Continuation): Sequence {
  for (const [index, { size }] of segments.entries())
    if (size !== layout.segmentBytes)
      throw refusal(`segment ${index} has ${size} bytes; segments of ${layout.name} have ${layout.segmentBytes}`);
  const sequence = withoutPages(config, layout, segments.length * layout.segmentTokens, at);
  try {
    for (const segment of segments) addPage(sequence, segment);
    grow(sequence, 0); // a boundary after the last segment brings tail rows
  } catch (error) {
    sequence.pages.splice(0, segments.length); // these references stay the caller's
    freeSequence(sequence);
    throw error;
  }
  return sequence;
}

export function freeSequence(sequence: Sequence): void {
  sequence.list.release();
  sequence.state.release();
  for (const page of sequence.pages.splice(0)) page.release();
}

/** Makes room for the rows of the next `tokens` tokens. A page has its full size from the start. */
export function grow(sequence: Sequence, tokens: number): void {
  const { segmentTokens, segmentBytes } = sequence.layout;
  const needed = segmentBytes === 0 ? 0 : Math.ceil((sequence.position + tokens) / segmentTokens);
  while (sequence.pages.length < needed) addPage(sequence, createPage(segmentBytes, true));
}

/** Pages completed since the sequence stood at `before`. The caller owns the references. */
export function sealedSince(sequence: Sequence, before: number): Sealed<NativeBuffer>[] {
  const { segmentTokens } = sequence.layout;
  const from = Math.floor(Math.max(before, sequence.stored) / segmentTokens);
  const to = Math.min(Math.floor(sequence.position / segmentTokens), sequence.pages.length);
  return sequence.pages.slice(from, Math.max(from, to)).map((page, i) => ({ index: from + i, payload: page.retain() }));
}

/** Tensors over rows [first, first + count) of a block, page by page: U8 [rows, rowBytes] each. */
export function pageRows(sequence: Sequence, block: Block, first: number, count: number): Tensor[] {
  const pieces: Tensor[] = [];
  for (let row = first; row < first + count; ) {
    const within = row % block.rows;
    const rows = Math.min(block.rows - within, first + count - row);
    const page = sequence.pages[Math.floor(row / block.rows)]!;
    pieces.push(tensor(page, "U8", [rows, block.rowBytes], block.offset + within * block.rowBytes));
    row += rows;
  }
  return pieces;
}

function withoutPages(config: ModelConfig, layout: PayloadLayout, stored: number, at: Continuation): Sequence {
  const list = new TensorList();
  try {
    return { layout, pages: [], list, stored, ...at, ...createState(config, layout), counts: new Map() };
  } catch (error) {
    list.release(); // the garbage collector does not free a list
    throw error;
  }
}

function addPage(sequence: Sequence, page: NativeBuffer): void {
  sequence.pages.push(page);
  sequence.list.append(tensor(page, "U8", [page.size]));
}

/** Allocates every ring of every layer in one buffer. */
function createState(config: ModelConfig, layout: PayloadLayout): { state: NativeBuffer; layers: LayerState[] } {
  const shapes: { dtype: Dtype; shape: number[]; offset: number }[] = [];
  let end = 0;
  const place = (dtype: Dtype, ...shape: number[]): number => {
    shapes.push({ dtype, shape, offset: end });
    end += bytesInLines(dtype, shape);
    return shapes.length - 1;
  };
  const places = config.ratios.map((ratio) => ({
    window: place("U8", config.window, layout.rowBytes),
    compressor: ratio === 0 ? null : place("F32", ...ringShape(ratio, config.headDim)),
    indexer: layerKind(ratio) === "csa" ? place("F32", ...ringShape(ratio, config.indexDim)) : null,
  }));
  const state = createBuffer(end);
  const at = (index: number): Tensor => tensor(state, shapes[index]!.dtype, shapes[index]!.shape, shapes[index]!.offset);
  const orNull = (index: number | null) => (index === null ? null : at(index));
  return { state, layers: places.map((p) => ({ window: at(p.window), compressor: orNull(p.compressor), indexer: orNull(p.indexer) })) };
}

/** With overlap the ring keeps the previous window too (spec 2.4). */
export const ringSlots = (ratio: number): number => (layerKind(ratio) === "csa" ? 2 * ratio : ratio);

/** [slots, k and z, width]: with overlap the channels are doubled. */
const ringShape = (ratio: number, dim: number): number[] => [ringSlots(ratio), 2, layerKind(ratio) === "csa" ? 2 * dim : dim];
