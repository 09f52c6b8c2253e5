import type { Linear } from "../checkpoint/weights.ts";
import { reshape, rows, type Stream, type Tensor } from "../kernels.ts";
import type { Model, Placed } from "../model.ts";
import type { Sequence } from "../sequence.ts";
import type { Workspace } from "./workspace.ts";

/** What a call works with. One call at a time uses a workspace. */
export interface Means {
  readonly model: Model;
  readonly ops: Stream;
  readonly work: Workspace;
  readonly tap: Tap | null;
}

/** One call of the forward pass: the rows of all parts stand one after the other. T = rows. */
export interface Run extends Means {
  readonly rows: number;
  readonly parts: readonly Part[];
  /** Rotations of the rows' positions: F32 [T, rope/2, 2]. */
  readonly rope: { readonly main: Tensor; readonly compressed: Tensor };
  /** What each compression ratio of the model emits in this call. */
  readonly emitted: ReadonlyMap<number, Emitted>;
}

/** Consecutive tokens of one sequence: a chunk, or a step's token and its draft. */
export interface Part {
  readonly sequence: Sequence;
  /** Position of its first token: where the sequence stands. */
  readonly start: number;
  /** Its first row in the call. */
  readonly row: number;
  readonly count: number;
}

/** Windows that complete in this call, all parts one after the other. */
export interface Emitted {
  readonly count: number;
  /** Rotations of the windows' first positions. */
  readonly rope: Tensor;
  /** Per part: its first row here, and the windows it emits. */
  readonly spans: readonly { readonly row: number; readonly first: number; readonly count: number }[];
}

/** For tests and the golden runner: sees intermediate tensors where they are made, before their memory is reused. */
export interface Tap {
  see(name: TapName, layer: number, value: Tensor): void;
  /**
   * Memory for the index scores F32 [rows, entries] of one part; null if they are not wanted. Only a test wants them.
   */
  scores(rows: number, entries: number): Tensor | null;
}

type TapName = "stream" | "attn_in" | "attn_out" | "ffn_in" | "ffn_out" | "route_ids" | "route_weights" | "index_scores" | "index_sel";

/** The rows of one part. */
export const ofPart = (t: Tensor, part: Part): Tensor => rows(t, part.row, part.count);

/** y = x · Wᵀ, block diagonal with `groups` > 1. */
export const linear = (run: Run, x: Tensor, { weight, scale }: Placed<Linear>, y: Tensor, groups = 1): void =>
  run.ops.linear({ x, w: weight, scale, y, groups });

/** In place. `weight` null: all ones. */
export const rmsNorm = (run: Run, x: Tensor, weight: Tensor | null): void =>
  run.ops.rmsNorm({ x, w: weight, y: x, eps: run.model.config.rmsEps });

/** [rows, a·b] seen as [rows·a, b]. */
export const splitRows = (t: Tensor, parts: number): Tensor => reshape(t, [t.shape[0]! * parts, t.shape[1]! / parts]);
