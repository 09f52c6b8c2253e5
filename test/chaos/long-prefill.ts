import { setTimeout as sleep } from "node:timers/promises";
import type { Bus } from "../../services/shared/bus/contract.ts";
import type { JobRequest, LogRecord } from "../../services/shared/bus/events.ts";
import { busFromConfig } from "../../services/shared/bus/from-config.ts";
import type { EngineInfo } from "../../services/shared/engine/engine.ts";
import { engineFromConfig, type OpenedEngine } from "../../services/shared/engine/from-config.ts";
import { systemClock } from "../../services/shared/runtime/clock.ts";
import { type Config, loadConfig } from "../../services/shared/runtime/config.ts";
import { silentLog } from "../../services/shared/runtime/log.ts";
import { openMetrics } from "../../services/shared/runtime/metrics.ts";
import { systemRandom } from "../../services/shared/runtime/random.ts";
import type { SegmentStore } from "../../services/shared/segments/contract.ts";
import { storeFromConfig } from "../../services/shared/segments/from-config.ts";
import { answered } from "../support/answers.ts";
import { NatsServer } from "../support/nats.ts";
import { LossyProxy } from "../support/proxy.ts";
import { startRedis } from "../support/redis.ts";
import { type Role, RoleProcess } from "../support/role-process.ts";
import { segmentKeys } from "../support/segments.ts";
import { requestOf, submitJob } from "../support/workers.ts";

export interface Kill {
  /** Part of the prompt that was stored when the worker was killed. */
  readonly fraction: number;
  /** Tokens whose segments were stored when it was dead. */
  readonly stored: number;
  /** How far it had come by its own account, or by what it stored. */
  readonly reached: number;
  /** Where its successor began. */
  readonly resumed: number;
  /** Tokens computed twice. */
  readonly recomputed: number;
}

/** One line a kill, for people. */
export const killsTable = (kills: readonly Kill[]): string =>
  kills
    .map(({ fraction, stored, reached, resumed, recomputed }) => {
      const at = `killed at ${String(Math.round(100 * fraction)).padStart(2)} %`;
      return `${at}: ${stored} tokens stored, ${reached} reached; resumed at ${resumed}, ${recomputed} computed again`;
    })
    .join("\n");

/** A prefill of one long prompt, and everything it runs on. */
export interface Rig {
  readonly opened: OpenedEngine;
  /**
   * Tokens a kill may cost: one chunk in flight, the segments on their way to the store, and the replay that rebuilds
   * the windows where no boundary lies.
   */
  readonly recomputedMax: number;
  /**
   * Prefills while the worker that holds the job is killed at each of these parts of the prompt; then the answer is
   * generated.
   */
  run(ids: Int32Array, request: Partial<JobRequest>, fractions: readonly number[]): Promise<{ kills: readonly Kill[]; ids: number[] }>;
  close(): Promise<void>;
}

/** Two prefill workers and one for decode, NATS and Redis. */
export async function openRig(env: Readonly<Record<string, string>>): Promise<Rig> {
  const [nats, redis] = await Promise.all([NatsServer.start(), startRedis()]);
  const way = await LossyProxy.start(redis.port);
  const full = { ...env, LONGSHORE_NATS_URL: nats.url, LONGSHORE_REDIS_URL: `redis://127.0.0.1:${way.port}` };
  const config = loadConfig({ ...full, LONGSHORE_REDIS_URL: redis.url });
  const [bus, opened] = [busFromConfig(config), await engineFromConfig(config)];
  const store = storeFromConfig(config, { clock: systemClock, log: silentLog, random: systemRandom, metrics: openMetrics() });
  const workers = new Set<RoleProcess>();
  const start = async (role: Role) => void workers.add(await RoleProcess.start(role, full));
  await Promise.all([bus.ready(60_000), start("prefill"), start("prefill"), start("decode")]);
  const { info } = opened.engine;
  let jobs = 0;
  return {
    opened,
    recomputedMax: info.chunkTokens + config.uploadsMax * info.segmentTokens + Math.min(config.boundaryTokens, info.replayTokens),
    async run(ids, changes, fractions) {
      const jobId = `job-${++jobs}`;
      await Promise.all(fractions.map(() => start("prefill"))); // one for each that will die: none has to start while the prompt goes on
      const request = requestOf({ model: opened.model, tenant: jobId, ...changes, prompt: { payload: jobId }, promptTokens: ids.length });
      await submit(bus, jobId, ids, request);
      const stored = storedTokens(store, config, info, request.tenant, ids);
      const kills: Kill[] = [];
      for (const fraction of fractions) {
        // After each look at most one more segment is stored, or what a socket had read with it, however late we are;
        // once enough are stored, none is.
        for (way.hold(); (await stored()) < fraction * ids.length; way.hold()) {
          way.hold(info.segmentBytes);
          await sleep(5);
        }
        const { victim, epoch } = await holderOf(bus, jobId, workers);
        await victim.kill();
        workers.delete(victim);
        const kept = await stored(); // before its successor stores more
        way.release();
        kills.push({ fraction, ...(await resumption(bus, jobId, epoch, kept)) });
      }
      return { kills, ids: answered(await untilEnd(bus, jobId)).ids };
    },
    async close() {
      await Promise.all([...workers].map((worker) => worker.stop()));
      await Promise.all([bus.close(), store.close(), opened.engine.shutdown()]);
      await Promise.all([nats.stop(), way.stop().then(() => redis.stop())]);
    },
  };
}

async function submit(bus: Bus, jobId: string, ids: Int32Array, request: JobRequest): Promise<void> {
  await bus.payloads.put(jobId, new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength));
  await submitJob(bus, jobId, request);
}

/** Tokens of the prompt whose segments are in the store, without a gap. */
function storedTokens(store: SegmentStore, { sharedSalt }: Config, info: EngineInfo, tenant: string, ids: Int32Array) {
  const { fingerprint, kvLayout: layout, layers: layerCount, segmentTokens } = info;
  const salt = JSON.stringify([sharedSalt, tenant]);
  const keys = segmentKeys({ fingerprint, layout, firstLayer: 0, layerCount, salt, path: null }, ids, segmentTokens);
  return async () => segmentTokens * (await store.countPrefix(keys));
}

/** The process whose name stands in the last claim, and that claim's epoch. */
async function holderOf(bus: Bus, jobId: string, workers: ReadonlySet<RoleProcess>): Promise<{ victim: RoleProcess; epoch: number }> {
  const claimed = (await bus.log.read(jobId)).findLast(({ event }) => event.type === "claimed");
  const name = claimed?.event.type === "claimed" ? claimed.event.worker : null;
  const victim = [...workers].find(({ output }) => name !== null && output.includes(name));
  if (claimed === undefined || victim === undefined) throw new Error(`nobody here holds ${jobId}`);
  return { victim, epoch: claimed.epoch };
}

/** For machines that are slow or busy. */
const RESUME_MS = 300_000;
const END_MS = 3_000_000;

/** The first progress of the successor of `epoch` that is not 0, which it reports while it loads what is stored. */
async function resumption(bus: Bus, jobId: string, epoch: number, stored: number): Promise<Omit<Kill, "fraction">> {
  let reached = stored;
  for await (const { epoch: by, event } of bus.log.follow(jobId, 0, AbortSignal.timeout(RESUME_MS))) {
    if (event.type !== "progress" || event.done === 0) continue;
    if (by > epoch) return { stored, reached, resumed: event.done, recomputed: reached - event.done };
    reached = Math.max(reached, event.done);
  }
  throw new Error(`nobody took ${jobId} over`);
}

async function untilEnd(bus: Bus, jobId: string): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  for await (const record of bus.log.follow(jobId, 0, AbortSignal.timeout(END_MS))) records.push(record);
  return records;
}
