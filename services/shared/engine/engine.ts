import type { ServingError } from "../runtime/errors.ts";
import type { Memory } from "../runtime/memory.ts";

/**
 * The engine as the workers see it: sequences that grow by chunks (prefill) and steps (decode).
 *
 * A sequence is one mutable timeline of tokens, anchored at position 0. Its compressed KV is a list of segment payloads
 * plus a growing tail. What else it needs at its position (windows, compressor state, the rows of the tail) is its
 * boundary. Any split of the same tokens into chunks and steps, alone or batched, cold or imported, gives the same bits
 * on one kernel path and mode (I7).
 *
 * Calls are queued and run one at a time; calls for one sequence must not overlap. No call blocks the event loop.
 */
export interface Engine {
  readonly info: EngineInfo;

  /** Memory that `open` can take over without a copy. Callable from the thread that owns this Engine object. */
  allocate(bytes: number): Memory;

  /**
   * Opens a sequence that continues after stored state. Feed the ids from the returned position on.
   *
   * - no segments, no boundary: position 0.
   * - boundary (of a position at or before, or less than one segment after, the end of `segments`): its position.
   * - segments alone: as far back as exactness needs (info.replayTokens before their end, or 0). Ids fed there only
   *   rebuild the windows; the stored rows are read, never recomputed (spec 3.5).
   *
   * The sequence takes its own references: the caller still releases its own. Throws INVALID_REQUEST for memory of
   * another size or shape.
   */
  open(start: SequenceStart): Promise<Opened>;

  /** Runs `ids` (at most info.chunkTokens) as the next tokens. With `sample`, also draws the token after them. */
  prefill(sequence: SequenceId, ids: Int32Array, options?: ChunkOptions): Promise<ChunkResult>;

  /**
   * Runs one token of each sequence together, each followed by its draft, and draws what follows. No sequence occurs
   * twice; at most info.batchMax tokens in all.
   */
  step(batch: readonly StepInput[]): Promise<StepResult[]>;

  /** The boundary at the sequence's position (docs/formats.md). Throws INVALID_REQUEST before `exactFrom`. */
  boundary(sequence: SequenceId): Promise<Uint8Array>;

  /** Frees the sequence. Idempotent. */
  close(sequence: SequenceId): Promise<void>;

  /** Waits for the call in progress, then frees everything. */
  shutdown(): Promise<void>;
}

export type SequenceId = number & { readonly brand: "sequence" };

export interface EngineInfo {
  /** 32 bytes over config, tokenizer, shard headers and a sample of every tensor. */
  readonly fingerprint: Uint8Array;
  /** Names the rows' format: part of every segment key. */
  readonly kvLayout: string;
  readonly kernelPath: string;
  readonly mode: "exact" | "serving";
  readonly layers: number;
  readonly vocabSize: number;
  /** Longest sequence, prompt and answer together. */
  readonly contextTokens: number;
  /** Tokens a segment covers: a multiple of 128. */
  readonly segmentTokens: number;
  readonly segmentBytes: number;
  /** Bytes a sequence holds beside its segments, whatever its length. */
  readonly stateBytes: number;
  /** Layers x (window - 1), rounded up to 128: how far back an exact restart without a boundary reaches. */
  readonly replayTokens: number;
  readonly chunkTokens: number;
  /** Most tokens of one step, drafts included. */
  readonly batchMax: number;
  /** Most tokens in one sequence's draft. */
  readonly draftMax: number;
}

export interface SequenceStart {
  /** Payloads of segments 0, 1, 2, ... without a gap. */
  readonly segments: readonly Memory[];
  readonly boundary: { readonly position: number; readonly bytes: Uint8Array } | null;
}

export interface Opened {
  readonly sequence: SequenceId;
  readonly position: number;
  /** Before this position a replay is still rebuilding the windows: nothing can be drawn and no boundary taken. */
  readonly exactFrom: number;
}

/**
 * How the next token is drawn.
 * For given logits a draw depends on seed and position alone, and with penalties on the answer's earlier tokens.
 */
export interface Sampling {
  readonly temperature: number;
  readonly topP: number;
  /** 0 = off. */
  readonly topK: number;
  readonly minP: number;
  /** Unsigned 64 bit. */
  readonly seed: bigint;
  /** `values[i]` is added to the logit of `ids[i]`. */
  readonly bias?: { readonly ids: readonly number[]; readonly values: readonly number[] };
  /** Subtracted from the logit of each token that the answer already holds ... */
  readonly presencePenalty?: number;
  /** ... and once more for each of its occurrences. */
  readonly frequencyPenalty?: number;
  /** Report the log probability of each drawn token and of this many alternatives. Absent: report none. */
  readonly topLogprobs?: number;
}

/** Natural log probabilities of the model's own distribution, before anything in Sampling changed it. */
export interface TokenLogprobs {
  readonly logprob: number;
  /** The most likely tokens, best first; ties by id. */
  readonly top: readonly { readonly id: number; readonly logprob: number }[];
}

export interface Drawn {
  readonly token: number;
  /** Present if Sampling.topLogprobs asked for them. */
  readonly logprobs?: TokenLogprobs;
}

/** Bit mask of the ids that may be drawn: bit `id % 32` of word `id / 32`. At least one bit is set. */
export type Allowed = Uint32Array;

export interface ChunkOptions {
  readonly sample?: Sampling | undefined;
  /** Absent: all. */
  readonly allowed?: Allowed | undefined;
  /** Called after each layer: it keeps the claim of a long chunk. */
  readonly onProgress?: ((layersDone: number, layers: number) => void) | undefined;
  /** Checked between layers. An aborted chunk rejects with the signal's reason, and its sequence can only be closed. */
  readonly signal?: AbortSignal | undefined;
}

/** A segment that a call completed. The caller owns the reference `payload`. */
export interface Sealed<Payload = Memory> {
  readonly index: number;
  readonly payload: Payload;
}

export interface ChunkResult<Payload = Memory> {
  readonly sealed: readonly Sealed<Payload>[];
  /** The token drawn, or null where none was asked for. */
  readonly token: number | null;
  readonly logprobs?: TokenLogprobs;
}

export interface StepInput {
  readonly sequence: SequenceId;
  readonly token: number;
  readonly sample: Sampling;
  /**
   * A guess at what follows `token`, at most info.draftMax ids: run in the same step, and accepted as far as the draws
   * agree. No draw depends on it, since the draw at a position depends on nothing after it. Absent: none.
   */
  readonly draft?: Int32Array;
  /**
   * The answer's ids up to `token`, for the penalties. Absent: the tokens of the sequence's earlier steps, and `token`.
   * Read only if there are penalties.
   */
  readonly answer?: Int32Array;
  /** What may follow `token` and each id of the draft; null: all. Absent: all everywhere. */
  readonly allowed?: readonly (Allowed | null)[];
}

/**
 * `failed`: this sequence alone is lost and can only be closed, as when its logits are not finite.
 * A step that rejects loses all of its sequences.
 */
export type StepResult<Payload = Memory> = Stepped<Payload> | { readonly failed: ServingError };

export interface Stepped<Payload = Memory> {
  /** One token, and one more for each id of the draft that was accepted. */
  readonly drawn: readonly Drawn[];
  readonly sealed: readonly Sealed<Payload>[];
}
