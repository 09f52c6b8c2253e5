import type { Clock } from "../../runtime/clock.ts";
import type { EngineInfo } from "../engine.ts";

export interface WeightlessOptions {
  readonly vocabSize?: number;
  /** Drawn with probability 1 / `eosOneIn`, so that answers end. */
  readonly eosId?: number;
  /** 0: never. */
  readonly eosOneIn?: number;
  readonly contextTokens?: number;
  readonly segmentTokens?: number;
  readonly chunkTokens?: number;
  readonly replayTokens?: number;
  readonly batchMax?: number;
  readonly draftMax?: number;
  readonly layers?: number;
  /** How long a chunk or a step pretends to take. */
  readonly chunkMs?: number;
  readonly stepMs?: number;
  readonly clock?: Clock;
  /**
   * What every call waits for first: a turn of the event loop, as with a native engine. The simulator passes its own.
   */
  readonly turn?: () => Promise<void>;
}

export function infoOf(options: WeightlessOptions): EngineInfo {
  const { segmentTokens = 128, vocabSize = 1_000, layers = 4 } = options;
  return {
    fingerprint: new Uint8Array(32).fill(vocabSize & 255),
    kvLayout: "weightless-1",
    kernelPath: "none",
    mode: "exact",
    layers,
    vocabSize,
    contextTokens: options.contextTokens ?? 1_048_576,
    segmentTokens,
    segmentBytes: 4 * segmentTokens,
    stateBytes: 4,
    replayTokens: options.replayTokens ?? 128,
    chunkTokens: options.chunkTokens ?? 256,
    batchMax: options.batchMax ?? 32,
    draftMax: options.draftMax ?? 7,
  };
}
