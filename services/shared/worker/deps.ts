import type { Bus } from "../bus/contract.ts";
import type { Engine } from "../engine/engine.ts";
import type { Grammars } from "../engine/grammar/grammars.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Config } from "../runtime/config.ts";
import type { ServingError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/log.ts";
import type { Metrics } from "../runtime/metrics.ts";
import { memoryPresent } from "../runtime/present.ts";
import type { SegmentStore } from "../segments/contract.ts";
import type { Pulse } from "./pulse.ts";

/** What a worker stands on. */
export interface WorkerDeps {
  readonly bus: Bus;
  readonly engine: Engine;
  /** Why the engine can do nothing any more; null while all is well. */
  readonly engineFailure: () => ServingError | null;
  /** Over the engine's vocabulary. */
  readonly grammars: Grammars;
  /** Of this engine. */
  readonly pulse: Pulse;
  readonly store: SegmentStore;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Hears what a worker cannot do at the record, for people, and null once it can. */
  readonly onReach?: (problem: string | null) => void;
}

/** What both kinds of worker are told. Names as in runtime/config.ts. */
export interface WorkerSettings {
  /** The name clients use, and so the name of the queues. */
  readonly model: string;
  /** Unique among all workers, now and later. */
  readonly worker: string;
  readonly claimMs: number;
  readonly beatMs: number;
  readonly uploadsMax: number;
  readonly boundaryTokens: number;
  /** The most bytes of KV that its sequences hold together. */
  readonly kvBytes: number;
  readonly sharedSalt: string;
  readonly strictNumerics: boolean;
}

/** Of memory, for the KV of one worker: two of each kind on a machine leave half of it for what weights, chunks and the store take. */
const KV_SHARE = 8;

/** A worker's settings as the configuration has them. */
export function workerSettings(config: Config, model: string, worker: string): WorkerSettings {
  const { claimMs, beatMs, uploadsMax, boundaryTokens, sharedSalt, strictNumerics } = config;
  const kvBytes = config.kvBytes || Math.floor(memoryPresent().bytes / KV_SHARE);
  return { model, worker, claimMs, beatMs, uploadsMax, boundaryTokens, kvBytes, sharedSalt, strictNumerics };
}
