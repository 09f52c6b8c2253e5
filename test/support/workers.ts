import { decodeWorker } from "../../services/decode/worker.ts";
import { prefillWorker } from "../../services/prefill/worker.ts";
import { type Bus, isTerminal, type JobEvent, type JobRequest, type LogRecord } from "../../services/shared/bus/contract.ts";
import { enqueue } from "../../services/shared/bus/enqueue.ts";
import { openBus } from "../../services/shared/bus/open.ts";
import type { Drawn, Engine, TokenLogprobs } from "../../services/shared/engine/engine.ts";
import { Grammars } from "../../services/shared/engine/grammar/grammars.ts";
import { openWeightlessEngine, type WeightlessEngine, type WeightlessOptions } from "../../services/shared/engine/weightless.ts";
import { type Clock, systemClock } from "../../services/shared/runtime/clock.ts";
import { silentLog } from "../../services/shared/runtime/log.ts";
import { openMetrics } from "../../services/shared/runtime/metrics.ts";
import type { SegmentStore } from "../../services/shared/segments/contract.ts";
import { MemoryStore } from "../../services/shared/segments/memory-store.ts";
import type { WorkerDeps } from "../../services/shared/worker/deps.ts";
import { Pulse } from "../../services/shared/worker/pulse.ts";
import { Life } from "./life.ts";
import { stepped } from "./stepped.ts";

export const EOS = 1;
export const SEGMENT = 128;
/** Small enough that a few hundred tokens are many chunks and segments. */
export const engineOptions: WeightlessOptions = {
  model: "m",
  vocabSize: 500,
  eosId: EOS,
  eosOneIn: 60,
  segmentTokens: SEGMENT,
  replayTokens: 160,
  chunkTokens: 96,
  batchMax: 8,
  contextTokens: 4_096,
};

/** Id 2 + i is the printable ASCII character i; from 97 on, two of them or a part of a character of more bytes. */
const texts = Array.from({ length: 500 }, (_, id): Uint8Array => {
  const ascii = (i: number) => String.fromCharCode(0x20 + (i % 95));
  if (id < 2) return Buffer.from(`<${id}>`);
  if (id < 97) return Buffer.from(ascii(id - 2));
  return id % 5 === 0 ? Uint8Array.of(0x80 + (id % 0x77)) : Buffer.from(ascii(id * 7) + ascii(id * 13));
});
export const textOf = (ids: readonly number[]): string => Buffer.concat(ids.map((id) => texts[id]!)).toString();
const starts = Int32Array.from({ length: 501 }, (_, id) => texts.slice(0, id).reduce((sum, { length }) => sum + length, 0));
const table = { block: Uint8Array.from(Buffer.concat(texts)), starts, special: [0, EOS] };
export const grammars = new Grammars({ table, stopIds: [EOS], vocabSize: 500 }, { compileMs: 20_000, nextMs: 5_000 });

export const settings = {
  model: "m",
  claimMs: 700,
  beatMs: 100,
  uploadsMax: 2,
  boundaryTokens: 256,
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
  /** Settles when the worker ended by itself or was drained. */
  readonly done: Promise<void>;
  drain(): Promise<void>;
}

export interface WorkerOptions {
  readonly engine?: WeightlessOptions;
  /** What the worker gets in place of its engine. */
  readonly engineOf?: (engine: Engine) => Engine;
  readonly settings?: Partial<Settings>;
}

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
  /** Drains what is still alive and closes the bus. Engines of drained workers must be empty then. */
  close(): Promise<void>;
}

export interface Answered {
  readonly ids: number[];
  readonly end: JobEvent;
}

export function testCluster({
  clock = systemClock,
  attemptsMax = 5,
  store = memoryStore(clock),
  busOf = (bus: Bus) => bus,
}: {
  clock?: Clock;
  attemptsMax?: number;
  store?: SegmentStore;
  busOf?: (bus: Bus) => Bus;
} = {}): TestCluster {
  const bus = busOf(openBus({ url: "memory:", claimMs: settings.claimMs, ackWaitMs: settings.claimMs + 100, attemptsMax, clock }));
  const workers: Worker[] = [];
  let count = 0;
  return {
    bus,
    store,
    start(role, options = {}) {
      const engine = openWeightlessEngine({ ...engineOptions, clock, ...options.engine });
      const life = new Life();
      const stop = new AbortController();
      const deps: WorkerDeps = {
        bus: life.bus(bus),
        engine: life.object<Engine>(options.engineOf?.(engine) ?? engine),
        engineFailure: () => null,
        grammars,
        pulse: new Pulse(),
        store: life.object(store),
        clock,
        log: silentLog,
        metrics: openMetrics(),
      };
      const own = { ...settings, worker: `${role}-${++count}`, ...options.settings };
      const done = role === "prefill" ? prefillWorker(deps, own, stop.signal) : decodeWorker(deps, own, watchText, stop.signal);
      const drain = () => {
        stop.abort(new Error("drain"));
        return done;
      };
      const worker = { engine, life, done, drain };
      workers.push(worker);
      return worker;
    },
    async submit(request = {}) {
      const jobId = `job-${++count}`;
      await submitJob(bus, jobId, requestOf(request));
      return jobId;
    },
    until: (jobId, wanted) => untilEvent(bus, jobId, wanted),
    events: (jobId) => eventsOf(bus, jobId),
    answer: async (jobId) => answered(await eventsOf(bus, jobId)),
    async close() {
      await Promise.all(workers.filter(({ life }) => !life.dead).map((worker) => worker.drain()));
      await bus.close();
    },
  };
}

export const memoryStore = (clock: Clock = systemClock): MemoryStore =>
  new MemoryStore({ bytesMax: 1e8, ttlMs: { segment: 1e7, boundary: 1e7 }, clock, log: silentLog });

/** As the API does. */
export async function submitJob(bus: Bus, jobId: string, request: JobRequest): Promise<void> {
  await bus.log.submit(jobId, request);
  await enqueue(bus.queue, "prefill", jobId, request, 0);
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
    deadlineMs: Date.now() + 60_000,
    detached: false,
    view: "",
    ...request,
    prompt,
  };
}

/** Ids that differ with `salt` from the first one on. */
export const promptIds = (length: number, salt = 0): Int32Array =>
  Int32Array.from({ length }, (_, i) => 2 + ((i * 7919 + salt * 104_729 + 13) % 498));

/** A text is its ids, each as a letter: a stop string is a run of ids. */
export const letter = (id: number): string => String.fromCharCode(0x4e00 + id);
export const watchText = (stops: readonly string[]) => {
  let text = "";
  return {
    push: (id: number) => {
      text += letter(id);
      return stops.some((stop) => text.includes(stop));
    },
  };
};

export interface Alone {
  readonly ids: number[];
  readonly reason: string;
  readonly logprobs: (TokenLogprobs | undefined)[];
}

/** What the engine says alone: one token after the other, from nothing, on no bus and no store. */
export async function alone(request: JobRequest, options: WeightlessOptions = engineOptions): Promise<Alone> {
  const engine = openWeightlessEngine({ ...options, chunkMs: 0, stepMs: 0, turn: async () => {} });
  const prompt = (request.prompt as { ids: Int32Array }).ids;
  const { sequence } = await engine.open({ segments: [], boundary: null });
  const sample = request.sampling;
  const following = request.constraint === undefined ? null : grammars.follow(request.constraint);
  const among = async () => {
    const allowed = await following?.allowed(ids);
    return allowed ? { allowed } : {};
  };
  const ids: number[] = [];
  const logprobs: (TokenLogprobs | undefined)[] = [];
  let drawn: Drawn = { token: -1 };
  for (let at = 0; at < prompt.length; at += 64) {
    const { token, ...more } = await engine.prefill(sequence, prompt.slice(at, at + 64), { sample, ...(await among()) });
    drawn = { ...more, token: token! };
  }
  for (;;) {
    const { token } = drawn;
    if (request.stopIds.includes(token)) return { ids, logprobs, reason: "stop" };
    ids.push(token);
    logprobs.push(drawn.logprobs);
    if (request.stop.some((stop) => ids.map(letter).join("").includes(stop))) return { ids, logprobs, reason: "stop" };
    if (ids.length === request.maxTokens || prompt.length + ids.length === engine.info.contextTokens)
      return { ids, logprobs, reason: "length" };
    drawn = stepped((await engine.step([{ sequence, token, sample, answer: Int32Array.from(ids), ...(await among()) }]))[0]);
  }
}

export async function untilEvent(bus: Bus, jobId: string, wanted: (record: LogRecord) => boolean): Promise<LogRecord> {
  for await (const record of bus.log.follow(jobId, 0, AbortSignal.timeout(30_000))) if (wanted(record)) return record;
  throw new Error(`job ${jobId}: no such event in ${(await bus.log.read(jobId)).map(({ event }) => event.type).join(" ")}`);
}

/** Every event of a job up to its end. */
export async function eventsOf(bus: Bus, jobId: string): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  for await (const record of bus.log.follow(jobId, 0, AbortSignal.timeout(30_000))) records.push(record);
  const last = records.at(-1);
  if (last === undefined || !isTerminal(last.event)) {
    throw new Error(`job ${jobId} did not end: ${records.map(({ event, attempt }) => `${event.type}/${attempt}`).join(" ")}`);
  }
  return records;
}

/** The answer by the rules for readers: indices decide, a repeated hand-over adds nothing, a stop id is no part of it. Throws if an id came twice with two values. */
export function answered(records: readonly LogRecord[]): Answered {
  const ids: number[] = [];
  const put = (index: number, id: number) => {
    if (index > ids.length) throw new Error(`a hole before token ${index}`);
    if (index < ids.length && ids[index] !== id) throw new Error(`token ${index} was ${ids[index]} and became ${id}`);
    ids[index] = id;
  };
  for (const { event } of records) {
    if (event.type === "handed_over") put(0, event.token);
    const tokens = event.type === "tokens" ? event : event.type === "finished" ? event.tokens : undefined;
    for (const [i, id] of tokens?.ids.entries() ?? []) put(tokens!.first + i, id);
  }
  const { request } = records[0]!.event as { request: JobRequest };
  return { ids: ids.filter((id) => !request.stopIds.includes(id)), end: records.at(-1)!.event };
}

/** The log probabilities of the answer's tokens in order; a hand-over that was repeated adds nothing, nor does a stop id. */
export function logprobsOf(records: readonly LogRecord[]): (TokenLogprobs | undefined)[] {
  const all: (TokenLogprobs | undefined)[] = [];
  const { request } = records[0]!.event as { request: JobRequest };
  for (const { event } of records) {
    if (event.type === "handed_over" && all.length === 0 && !request.stopIds.includes(event.token)) all.push(event.logprobs);
    const tokens = event.type === "tokens" ? event : event.type === "finished" ? event.tokens : undefined;
    if (tokens !== undefined) all.push(...tokens.ids.map((_, i) => tokens.logprobs?.[i]));
  }
  return all;
}
