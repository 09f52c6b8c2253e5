import type { ServingError } from "../runtime/errors.ts";
import type { Memory } from "../runtime/memory.ts";

/**
 * The engine as the workers see it: sequences that grow by chunks (prefill) and steps (decode).
 *
 * A sequence is one mutable timeline of tokens, anchored at position 0. Its compressed KV is a list of segment payloads plus a growing
 * tail; what else it needs at its position (windows, compressor state, the rows of the tail) is its boundary. Any split of the same
 * tokens into chunks and steps, alone or batched, cold or imported, gives the same bits on one kernel path and mode (I7).
 *
 * Calls are queued and run one at a time; calls for one sequence must not overlap. Nothing here blocks the event loop.
 */
export interface Engine {
  readonly info: EngineInfo;

  /** Memory that `open` can take over without a copy. Callable from the thread that owns this Engine object. */
  allocate(bytes: number): Memory;

  /**
   * A sequence that continues after stored state. Feed the ids from the returned position on.
   *
   * - no segments, no boundary: position 0.
   * - boundary (of a position at or before, or less than one segment after, the end of `segments`): its position.
   * - segments alone: as far back as exactness needs (info.replayTokens before their end, or 0). Ids fed there only rebuild the
   *   windows; the stored rows are read, never recomputed (spec 3.5).
   *
   * Takes its own references: the caller still releases its own. Throws INVALID_REQUEST for memory of another size or shape.
   */
  open(start: SequenceStart): Promise<Opened>;

  /** Runs `ids` (at most info.chunkTokens) as the next tokens. With `sample`, also draws the token that follows them. */
  prefill(sequence: SequenceId, ids: Int32Array, options?: ChunkOptions): Promise<ChunkResult>;

  /** Runs a token of each of several different sequences together, and its draft behind it, and draws what follows. At most info.batchMax tokens in all. */
  step(batch: readonly StepInput[]): Promise<StepResult[]>;

  /** The boundary at the sequence's position, in the format of docs/formats.md. INVALID_REQUEST before `exactFrom`. */
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
  /** What a sequence holds beside its segments, however long it is. */
  readonly stateBytes: number;
  /** Layers x (window - 1), rounded up to 128: how far back an exact restart without a boundary reaches. */
  readonly replayTokens: number;
  readonly chunkTokens: number;
  /** Tokens that a step runs. */
  readonly batchMax: number;
  /** Longest draft of a sequence. */
  readonly draftMax: number;
}

export interface SequenceStart {
  /** Payloads of segments 0, 1, 2, ... without a hole. */
  readonly segments: readonly Memory[];
  readonly boundary: { readonly position: number; readonly bytes: Uint8Array } | null;
}

export interface Opened {
  readonly sequence: SequenceId;
  readonly position: number;
  /** Before this position a replay is still rebuilding the windows: nothing can be drawn there, and there is no boundary to keep. */
  readonly exactFrom: number;
}

/** How the next token is drawn. The draw of one position depends on seed and position alone; penalties on the answer's tokens before it, too. */
export interface Sampling {
  readonly temperature: number;
  readonly topP: number;
  /** 0 = off. */
  readonly topK: number;
  readonly minP: number;
  /** Unsigned 64 bit. */
  readonly seed: bigint;
  /** Added to the logits of these ids; `values` are as many as `ids`. */
  readonly bias?: { readonly ids: readonly number[]; readonly values: readonly number[] };
  /** Taken from the logit of each token that the answer holds already ... */
  readonly presencePenalty?: number;
  /** ... and for each time that it does. */
  readonly frequencyPenalty?: number;
  /** Tells what the model thought of each token, and of so many alternatives. Absent: of none. */
  readonly topLogprobs?: number;
}

/** What the model thought of a token that was drawn: natural logarithms of its own probabilities, before anything in Sampling changed them. */
export interface TokenLogprobs {
  readonly logprob: number;
  /** The most likely tokens, best first; equal ones by id. */
  readonly top: readonly { readonly id: number; readonly logprob: number }[];
}

export interface Drawn {
  readonly token: number;
  /** Where they were asked for. */
  readonly logprobs?: TokenLogprobs;
}

/** The ids that may be drawn: bit `id % 32` of word `id / 32`; at least one. */
export type Allowed = Uint32Array;

export interface ChunkOptions {
  readonly sample?: Sampling | undefined;
  /** Absent: all. */
  readonly allowed?: Allowed | undefined;
  /** After each layer: the claim of a long chunk is kept by this. */
  readonly onProgress?: ((layersDone: number, layers: number) => void) | undefined;
  /** Looked at between layers. An aborted chunk rejects with the signal's reason, and its sequence can only be closed. */
  readonly signal?: AbortSignal | undefined;
}

/** A segment that was completed by a call. `payload` is a reference of the caller's own. */
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
   * What may follow `token`, at most info.draftMax ids: run in the same step, and taken as far as the draws agree. No draw depends on it, for
   * those of a position depend on nothing behind it. Absent: none.
   */
  readonly draft?: Int32Array;
  /** The answer's ids up to `token`: what penalties count. Absent: those of the sequence's steps before, and `token`. Looked at only if there are any. */
  readonly answer?: Int32Array;
  /** Behind `token` and behind each id of the draft; null: all. Absent: all everywhere. */
  readonly allowed?: readonly (Allowed | null)[];
}

/** `failed`: this sequence alone is lost and can only be closed, as where its logits are not finite. A step that rejects took all of its sequences along. */
export type StepResult<Payload = Memory> = Stepped<Payload> | { readonly failed: ServingError };

export interface Stepped<Payload = Memory> {
  /** One, and one more for each id of the draft that was drawn. */
  readonly drawn: readonly Drawn[];
  readonly sealed: readonly Sealed<Payload>[];
}
