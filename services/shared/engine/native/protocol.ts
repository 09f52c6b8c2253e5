import { type ErrorCode, ServingError } from "../../runtime/errors.ts";
import type { Allowed, Drawn, EngineInfo, Sampling, TokenLogprobs } from "../engine.ts";
import type { CoreStep } from "./core.ts";

/**
 * What the engine's thread is asked and what it answers, in the order it was asked. Native memory crosses as handles: the sender lends a
 * reference (NativeBuffer.lend), the receiver takes it over (adoptBuffer).
 */
export interface Calls {
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

export type Request = { readonly [K in CallKind]: { readonly id: number; readonly kind: K; readonly input: Input<K> } }[CallKind];

export type Reply =
  | { readonly kind: "ready"; readonly info: EngineInfo }
  | { readonly kind: "unready"; readonly error: WireError }
  | { readonly kind: "progress"; readonly id: number; readonly layersDone: number }
  | { readonly kind: "done"; readonly id: number; readonly output: Output<CallKind> }
  | { readonly kind: "failed"; readonly id: number; readonly error: WireError };

/** A ServingError without its cause, which may not survive the crossing. */
export interface WireError {
  readonly code: ErrorCode;
  readonly message: string;
}

export function toWire(thrown: unknown): WireError {
  const { code, message } = ServingError.from(thrown);
  return { code, message };
}

export const fromWire = ({ code, message }: WireError): ServingError => new ServingError(code, message);
