import { decodeWorker } from "../../services/decode/worker.ts";
import { prefillWorker } from "../../services/prefill/worker.ts";
import type { Bus } from "../../services/shared/bus/contract.ts";
import { isTerminal, type JobEvent } from "../../services/shared/bus/events.ts";
import { openBus } from "../../services/shared/bus/open.ts";
import type { Engine } from "../../services/shared/engine/engine.ts";
import { engineFromConfig } from "../../services/shared/engine/from-config.ts";
import { systemClock } from "../../services/shared/runtime/clock.ts";
import { loadConfig } from "../../services/shared/runtime/config.ts";
import { silentLog } from "../../services/shared/runtime/log.ts";
import { openMetrics } from "../../services/shared/runtime/metrics.ts";
import { seededRandom } from "../../services/shared/runtime/random.ts";
import type { SegmentStore } from "../../services/shared/segments/contract.ts";
import { workerSettings } from "../../services/shared/worker/deps.ts";
import { Pulse } from "../../services/shared/worker/pulse.ts";
import { requestOf, submitJob } from "../support/workers.ts";

/** The demonstration model's engine, and workers on it that share a record in memory. */
export interface EngineCluster {
  readonly engine: Engine;
  readonly bus: Bus;
  /** Starts a worker; `engine` and `bus` may be watched ones. */
  start(role: "prefill" | "decode", store: SegmentStore, seen?: { readonly engine?: Engine; readonly bus?: Bus }): void;
  /** Puts a job into the record and the prefill queue; its id. */
  submit(ids: Int32Array, maxTokens: number): Promise<string>;
  /** Resolves at this event of a job. */
  until(jobId: string, type: JobEvent["type"]): Promise<void>;
  close(): Promise<void>;
}

const JOB_MS = 300_000;

export async function engineCluster(): Promise<EngineCluster> {
  const config = loadConfig({});
  const { engine, failure, model, grammars } = await engineFromConfig(config);
  const bus = openBus({ url: "memory:", claimMs: 60_000 });
  const stop = new AbortController();
  const workers: Promise<void>[] = [];
  let jobs = 0;
  return {
    engine,
    bus,
    start(role, store, seen = {}) {
      const deps = {
        ...{ bus, engine, grammars, ...seen },
        ...{ engineFailure: failure, pulse: new Pulse(), store, clock: systemClock, log: silentLog, metrics: openMetrics() },
      };
      const settings = { ...config, ...workerSettings(config, model, `${role}-${workers.length}`) };
      workers.push(role === "prefill" ? prefillWorker(deps, settings, stop.signal) : decodeWorker(deps, settings, noStops, stop.signal));
    },
    async submit(ids, maxTokens) {
      const jobId = `bench-${++jobs}`;
      const request = requestOf({ model, prompt: { ids }, maxTokens, stopIds: [], deadlineMs: Date.now() + 2 * JOB_MS });
      await submitJob(bus, jobId, request);
      return jobId;
    },
    async until(jobId, type) {
      for await (const { event } of bus.log.follow(jobId, 0, AbortSignal.timeout(JOB_MS))) {
        if (event.type === type) return;
        if (isTerminal(event)) throw new Error(`job ${jobId} ended with ${JSON.stringify(event)}`);
      }
      throw new Error(`job ${jobId} had no ${type} within ${JOB_MS} ms`);
    },
    async close() {
      stop.abort(new Error("measured"));
      await Promise.all(workers);
      await bus.close();
      await engine.shutdown();
    },
  };
}

const noStops = () => ({ push: () => false });

/** Ids that no other seed begins with. */
export function randomIds(engine: Engine, length: number, seed: number): Int32Array {
  const random = seededRandom(seed);
  return Int32Array.from({ length }, () => random.u32() % engine.info.vocabSize);
}
