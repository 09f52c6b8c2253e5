import { decodeWorker } from "../../services/decode/worker.ts";
import { prefillWorker } from "../../services/prefill/worker.ts";
import type { Bus } from "../../services/shared/bus/contract.ts";
import { enqueue } from "../../services/shared/bus/enqueue.ts";
import type { JobRequest, LogRecord } from "../../services/shared/bus/events.ts";
import { openBus } from "../../services/shared/bus/open.ts";
import type { Engine } from "../../services/shared/engine/engine.ts";
import type { WeightlessOptions } from "../../services/shared/engine/weightless/options.ts";
import { openWeightlessEngine, type WeightlessEngine } from "../../services/shared/engine/weightless/weightless.ts";
import { type Clock, systemClock } from "../../services/shared/runtime/clock.ts";
import { silentLog } from "../../services/shared/runtime/log.ts";
import { type Metrics, openMetrics } from "../../services/shared/runtime/metrics.ts";
import type { SegmentStore } from "../../services/shared/segments/contract.ts";
import { MemoryStore } from "../../services/shared/segments/memory-store.ts";
import type { WorkerDeps } from "../../services/shared/worker/deps.ts";
import { Pulse } from "../../services/shared/worker/pulse.ts";
import { type Answered, answered, eventsOf, untilEvent } from "./answers.ts";
import { Life } from "./life.ts";
import { EOS, engineOptions, grammars, promptIds, watchText } from "./model.ts";
import { overriding } from "./overriding.ts";
import { VirtualClock } from "./virtual-clock.ts";

export const settings = {
  model: "m",
  claimMs: 700,
  beatMs: 100,
  uploadsMax: 2,
  boundaryTokens: 256,
  kvBytes: 1e8,
  sharedSalt: "",
  strictNumerics: false,
  prefillSlots: 2,
  chunkMs: 4_000,
  flushTokens: 4,
  flushMs: 2,
};
export type Settings = typeof settings;

export interface Worker {
  readonly engine: WeightlessEngine;
  readonly life: Life;
  readonly metrics: Metrics;
  /** Settles when the worker ended by itself or was drained. */
  readonly done: Promise<void>;
  drain(): Promise<void>;
}

interface WorkerOptions {
  readonly engine?: WeightlessOptions;
  /** What the worker gets in place of its engine. */
  readonly engineOf?: (engine: Engine) => Engine;
  readonly settings?: Partial<Settings>;
}

/**
 * On a virtual clock, a wait for something of the cluster lets its time pass: nothing in it depends on how long a test
 * is held up.
 */
export interface TestCluster {
  readonly bus: Bus;
  readonly store: SegmentStore;
  start(role: "prefill" | "decode", options?: WorkerOptions): Worker;
  submit(request?: Partial<JobRequest>): Promise<string>;
  /** The first event that `wanted` accepts. */
  until(jobId: string, wanted: (record: LogRecord) => boolean): Promise<LogRecord>;
  /** Every event of a job up to its end. */
  events(jobId: string): Promise<LogRecord[]>;
  answer(jobId: string): Promise<Answered>;
  /** Looks every millisecond. */
  when(holds: () => boolean): Promise<void>;
  /** Drains what is still alive and closes the bus. Engines of drained workers must be empty then. */
  close(): Promise<void>;
}

export function testCluster({
  clock = systemClock,
  attemptsMax = 5,
  store = memoryStore(clock),
  busOf = (bus: Bus) => bus,
  follow = (constraint) => grammars.follow(constraint),
}: {
  clock?: Clock;
  attemptsMax?: number;
  store?: SegmentStore;
  busOf?: (bus: Bus) => Bus;
  follow?: WorkerDeps["grammars"]["follow"];
} = {}): TestCluster {
  const bus = busOf(openBus({ url: "memory:", claimMs: settings.claimMs, ackWaitMs: settings.claimMs + 100, attemptsMax, clock }));
  const workers: Worker[] = [];
  let count = 0;
  const passing = <T>(work: Promise<T>): Promise<T> => (clock instanceof VirtualClock ? clock.run(atMost(clock, work)) : work);
  return {
    bus,
    store,
    start(role, options = {}) {
      const turn = clock instanceof VirtualClock && { turn: () => clock.sleep(0) };
      const engine = openWeightlessEngine({ ...engineOptions, clock, ...turn, ...options.engine });
      const life = new Life();
      const metrics = openMetrics();
      const stop = new AbortController();
      const deps: WorkerDeps = {
        bus: life.bus(bus),
        engine: life.object<Engine>(options.engineOf?.(engine) ?? engine),
        engineFailure: () => null,
        grammars: overriding(grammars, { follow }),
        pulse: new Pulse(),
        store: life.object(store),
        clock,
        log: silentLog,
        metrics,
      };
      const own = { ...settings, worker: `${role}-${++count}`, ...options.settings };
      const done = role === "prefill" ? prefillWorker(deps, own, stop.signal) : decodeWorker(deps, own, watchText, stop.signal);
      const drain = () => {
        stop.abort(new Error("drain"));
        return passing(done);
      };
      const worker = { engine, life, metrics, done, drain };
      workers.push(worker);
      return worker;
    },
    async submit(request = {}) {
      const jobId = `job-${++count}`;
      await submitJob(bus, jobId, requestOf(request));
      return jobId;
    },
    until: (jobId, wanted) => passing(untilEvent(bus, jobId, wanted)),
    events: (jobId) => passing(eventsOf(bus, jobId)),
    answer: async (jobId) => answered(await passing(eventsOf(bus, jobId))),
    async when(holds) {
      while (!holds()) await passing(clock.sleep(1));
    },
    async close() {
      await Promise.all(workers.filter(({ life }) => !life.dead).map((worker) => worker.drain()));
      await bus.close();
    },
  };
}

/**
 * Longer than anything a test waits for: while workers beat, a clock of its own would pass for ever if that does not
 * come.
 */
const OWN_TIME_MS = 3_600_000;

async function atMost<T>(clock: Clock, work: Promise<T>): Promise<T> {
  const over = new AbortController();
  const late = clock.sleep(OWN_TIME_MS, over.signal).then(() => {
    throw new Error(`it takes longer than ${OWN_TIME_MS} ms of its own time`);
  });
  return Promise.race([work, late]).finally(() => over.abort());
}

export const memoryStore = (clock: Clock = systemClock): MemoryStore =>
  new MemoryStore({ bytesMax: 1e8, ttlMs: { segment: 1e7, boundary: 1e7 }, clock, log: silentLog });

/** Submits as the API does. */
export async function submitJob(bus: Bus, jobId: string, request: JobRequest): Promise<void> {
  const { sequence } = await bus.log.submit(jobId, request);
  await enqueue(bus.queue, "prefill", jobId, request, sequence);
}

export function requestOf(request: Partial<JobRequest>): JobRequest {
  const prompt = request.prompt ?? { ids: promptIds(300) };
  return {
    model: "m",
    tenant: "t",
    lane: "interactive",
    promptTokens: "ids" in prompt ? prompt.ids.length : 0,
    maxTokens: 40,
    sampling: { temperature: 1, topP: 1, topK: 0, minP: 0, seed: 7n },
    stop: [],
    stopIds: [EOS],
    deadlineMs: Date.now() + 600_000,
    detached: false,
    view: "",
    ...request,
    prompt,
  };
}
