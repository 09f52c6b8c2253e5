import { watchTextOf } from "../decode/watch-text.ts";
import { decodeWorker } from "../decode/worker.ts";
import { prefillWorker } from "../prefill/worker.ts";
import type { Bus } from "../shared/bus/contract.ts";
import { busFromConfig } from "../shared/bus/from-config.ts";
import { engineFromConfig, type OpenedEngine, sumsFromConfig } from "../shared/engine/from-config.ts";
import { systemClock } from "../shared/runtime/clock.ts";
import type { Config } from "../shared/runtime/config.ts";
import type { Logger } from "../shared/runtime/log.ts";
import type { Metrics } from "../shared/runtime/metrics.ts";
import { systemRandom } from "../shared/runtime/random.ts";
import type { CountedStore } from "../shared/segments/contract.ts";
import { storeFromConfig } from "../shared/segments/from-config.ts";
import { type WorkerDeps, workerSettings } from "../shared/worker/deps.ts";
import { measured } from "../shared/worker/measured-engine.ts";
import { Pulse } from "../shared/worker/pulse.ts";

export interface Embedded {
  readonly bus: Bus;
  readonly store: CountedStore;
  readonly opened: OpenedEngine;
  /** Rejects if a worker ended without having been told to: nothing is served any more then. */
  readonly failed: Promise<never>;
  /** Hands back all work and frees the engine. */
  stop(): Promise<void>;
}

interface EmbeddedOptions {
  readonly config: Config;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly prefillWorkers?: number;
  readonly decodeWorkers?: number;
}

/**
 * The whole cluster but for the API in this process: record and cache in memory whatever the configuration says about their servers, and
 * workers of both kinds that share one engine. Jobs do not outlive the process.
 */
export async function startEmbedded({ config, log, metrics, prefillWorkers = 1, decodeWorkers = 1 }: EmbeddedOptions): Promise<Embedded> {
  const clock = systemClock;
  const inMemory: Config = { ...config, natsUrl: "memory:", redisUrl: "memory:" };
  const opened = await engineFromConfig(config);
  for (const warning of opened.warnings) log.warn({ model: opened.model }, warning);
  const bus = busFromConfig(inMemory, { tell: { log, metrics } });
  const sums = await sumsFromConfig(config);
  const store = storeFromConfig(inMemory, { clock, log, random: systemRandom, metrics, sums });
  const engine = measured(opened.engine, clock, metrics);
  const deps: WorkerDeps = {
    bus,
    engine,
    engineFailure: opened.failure,
    grammars: opened.grammars,
    pulse: new Pulse(),
    store,
    clock,
    log,
    metrics,
  };
  const settings = { ...config, ...workerSettings(config, opened.model, "") };
  const stopping = new AbortController();
  const workers = [
    ...times(prefillWorkers, () => prefillWorker(deps, { ...settings, worker: systemRandom.id("prefill_") }, stopping.signal)),
    ...times(decodeWorkers, () =>
      decodeWorker(deps, { ...settings, worker: systemRandom.id("decode_") }, watchTextOf(opened.tokenizer), stopping.signal),
    ),
  ];
  const failed = new Promise<never>((_, reject) => {
    for (const worker of workers) worker.catch(reject);
  });
  failed.catch(() => {}); // for those who do not ask
  return {
    bus,
    store,
    opened,
    failed,
    stop: async () => {
      stopping.abort(new Error("shutting down"));
      await Promise.allSettled(workers);
      await opened.engine.shutdown();
      await Promise.all([bus.close(), store.close()]);
    },
  };
}

const times = <T>(count: number, make: () => T): T[] => Array.from({ length: count }, make);
