import type { Bus } from "../bus/contract.ts";
import { memoryPresent } from "../engine/checkpoint/memory.ts";
import type { Engine } from "../engine/engine.ts";
import type { Grammars } from "../engine/grammar/grammars.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Config } from "../runtime/config.ts";
import type { ServingError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/log.ts";
import type { Metrics } from "../runtime/metrics.ts";
import type { SegmentStore } from "../segments/contract.ts";
import type { Pulse } from "./pulse.ts";

export interface WorkerDeps {
  readonly bus: Bus;
  readonly engine: Engine;
  /** Why the engine is beyond use; null while it works. */
  readonly engineFailure: () => ServingError | null;
  /** Over the engine's vocabulary. */
  readonly grammars: Grammars;
  /** Sign of life of this engine. */
  readonly pulse: Pulse;
  readonly store: SegmentStore;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Called with a message for people when the worker cannot use the record, and with null once it can. */
  readonly onReach?: (problem: string | null) => void;
}

/** Settings of both kinds of worker, named as in runtime/config.ts. */
export interface WorkerSettings {
  /** The name clients use, and so the name of the queues. */
  readonly model: string;
  /** Unique among all workers, now and later. */
  readonly worker: string;
  readonly claimMs: number;
  readonly beatMs: number;
  readonly uploadsMax: number;
  readonly boundaryTokens: number;
  /** Bound on the KV of all its sequences together, in bytes. */
  readonly kvBytes: number;
  readonly sharedSalt: string;
  readonly strictNumerics: boolean;
}

/**
 * One worker's KV takes 1/8 of memory: two workers of each kind on a machine leave half of it for weights, chunks and
 * the store.
 */
const KV_SHARE = 8;

/** A worker's settings from the configuration. `kvBytes` 0 means a share of the memory present. */
export function workerSettings(config: Config, model: string, worker: string): WorkerSettings {
  const { claimMs, beatMs, uploadsMax, boundaryTokens, sharedSalt, strictNumerics } = config;
  const kvBytes = config.kvBytes || Math.floor(memoryPresent().bytes / KV_SHARE);
  return { model, worker, claimMs, beatMs, uploadsMax, boundaryTokens, kvBytes, sharedSalt, strictNumerics };
}
