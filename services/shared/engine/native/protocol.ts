import type { Allowed, ChunkResult, EngineInfo, Opened, Sampling, SequenceId, SequenceStart, StepInput, Stepped } from "../engine.ts";
import type { ThreadReply } from "../threads/thread-calls.ts";
import type { WireError } from "../threads/wire-error.ts";

/**
 * Requests to the engine's thread and its answers, in the order of the requests. Native memory crosses as handles: the
 * sender lends a reference (NativeBuffer.lend), the receiver takes it over (adoptBuffer).
 */
interface Calls {
  open: {
    readonly input: { readonly segments: readonly Handle[]; readonly boundary: SequenceStart["boundary"] };
    readonly output: Opened;
  };
  prefill: {
    readonly input: {
      readonly sequence: SequenceId;
      readonly ids: Int32Array;
      readonly sample: Sampling | undefined;
      readonly allowed: Allowed | undefined;
      readonly progress: boolean;
      /** Set to 1 to abort. */
      readonly abort: Int32Array<SharedArrayBuffer> | null;
    };
    readonly output: ChunkResult<Handle>;
  };
  step: {
    readonly input: { readonly batch: readonly StepInput[] };
    readonly output: readonly (Stepped<Handle> | { readonly failed: WireError })[];
  };
  boundary: { readonly input: { readonly sequence: SequenceId }; readonly output: Uint8Array };
  close: { readonly input: { readonly sequence: SequenceId }; readonly output: null };
  shutdown: { readonly input: Record<never, never>; readonly output: null };
}

export type Handle = number;

export type CallKind = keyof Calls;
export type Input<K extends CallKind> = Calls[K]["input"];
export type Output<K extends CallKind> = Calls[K]["output"];

export type Request = { readonly [K in CallKind]: { readonly kind: K; readonly input: Input<K> } }[CallKind];

/** What the engine says of itself, once it is open. */
export interface Ready {
  readonly info: EngineInfo;
  /** As in `OpenedEngine`. */
  readonly warnings: readonly string[];
}

/** Progress is counted in layers. */
export type Reply = ThreadReply<Ready, Output<CallKind>>;
