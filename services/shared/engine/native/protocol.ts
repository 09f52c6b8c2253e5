import type { Allowed, Drawn, EngineInfo, Sampling, TokenLogprobs } from "../engine.ts";
import type { ThreadReply } from "../threads/thread-calls.ts";
import type { WireError } from "../threads/wire-error.ts";
import type { CoreStep } from "./core.ts";

/**
 * What the engine's thread is asked and what it answers, in the order it was asked. Native memory crosses as handles: the sender lends a
 * reference (NativeBuffer.lend), the receiver takes it over (adoptBuffer).
 */
interface Calls {
  open: {
    readonly input: {
      readonly segments: readonly number[];
      readonly boundary: { readonly position: number; readonly bytes: Uint8Array } | null;
    };
    readonly output: { readonly sequence: number; readonly position: number; readonly exactFrom: number };
  };
  prefill: {
    readonly input: {
      readonly sequence: number;
      readonly ids: Int32Array;
      readonly sample: Sampling | null;
      readonly allowed: Allowed | undefined;
      readonly progress: boolean;
      /** Set to 1 to abort. */
      readonly abort: Int32Array<SharedArrayBuffer> | null;
    };
    readonly output: { readonly sealed: readonly SealedHandle[]; readonly token: number | null; readonly logprobs?: TokenLogprobs };
  };
  step: {
    readonly input: { readonly batch: readonly CoreStep[] };
    readonly output: readonly ((Drawn & { readonly sealed: readonly SealedHandle[] }) | { readonly failed: WireError })[];
  };
  boundary: { readonly input: { readonly sequence: number }; readonly output: Uint8Array };
  close: { readonly input: { readonly sequence: number }; readonly output: null };
  shutdown: { readonly input: Record<never, never>; readonly output: null };
}

export interface SealedHandle {
  readonly index: number;
  readonly payload: number;
}

export type CallKind = keyof Calls;
export type Input<K extends CallKind> = Calls[K]["input"];
export type Output<K extends CallKind> = Calls[K]["output"];

export type Request = { readonly [K in CallKind]: { readonly kind: K; readonly input: Input<K> } }[CallKind];

/** Progress is counted in layers. */
export type Reply = ThreadReply<EngineInfo, Output<CallKind>>;
