import { expect } from "vitest";
import type { Bus } from "../../services/shared/bus/contract.ts";
import type { JobRequest, LogRecord } from "../../services/shared/bus/events.ts";
import { TURN_IS_OVER } from "../../services/shared/bus/reasons.ts";
import type { SegmentStore } from "../../services/shared/segments/contract.ts";
import { alone } from "./alone.ts";
import { answered } from "./answers.ts";
import { promptIds, SEGMENT } from "./model.ts";
import { overriding } from "./overriding.ts";
import { VirtualClock } from "./virtual-clock.ts";
import { memoryStore, requestOf, testCluster, type Worker } from "./workers.ts";

/** Length of a chunk. All times of a crowd are counted in chunks, on a clock of its own. */
export const CHUNK_MS = 1_000;

interface Crowd {
  readonly slots: number;
  readonly workers?: number;
  /** Of decode. */
  readonly stepMs?: number;
  readonly store?: (store: SegmentStore) => SegmentStore;
  readonly busOf?: (bus: Bus) => Bus;
}

/** Prefill workers with few slots, one for decode, and a count of what they compute, on a clock of their own. */
export function crowd({ slots, workers = 1, stepMs = 0, store = (store) => store, busOf = (bus) => bus }: Crowd) {
  const clock = new VirtualClock();
  const cluster = testCluster({ clock, store: store(memoryStore(clock)), busOf });
  const engine = { chunkMs: CHUNK_MS, layers: 5, turn: () => clock.sleep(0) };
  let computed = 0;
  const start = (): Worker =>
    cluster.start("prefill", {
      engine,
      engineOf: (engine) =>
        overriding(engine, {
          prefill: async (sequence, ids, options) => {
            computed += ids.length;
            return engine.prefill(sequence, ids, options);
          },
        }),
      settings: { prefillSlots: slots, chunkMs: CHUNK_MS },
    });
  const [worker] = Array.from({ length: workers }, start);
  cluster.start("decode", { engine: { ...engine, stepMs } });
  const request = (ids: Int32Array, more: Partial<JobRequest> = {}) =>
    ({ prompt: { ids }, maxTokens: 20, deadlineMs: clock.nowMs() + 1e9, ...more }) as const;
  return {
    cluster,
    clock,
    worker: worker!,
    start,
    get computed() {
      return computed;
    },
    submit: (ids: Int32Array, more: Partial<JobRequest> = {}) => cluster.submit(request(ids, more)),
    isComputed: (jobId: string) => cluster.until(jobId, ({ event }) => event.type === "progress" && event.done >= 2 * SEGMENT),
    /**
     * Every event of each job. Checks that all ended with the ids of the engine alone, with the right usage, and after
     * `attempts` attempts at most.
     */
    async ended(jobs: readonly { readonly jobId: string; readonly ids: Int32Array }[], attempts = 1): Promise<LogRecord[][]> {
      const logs = await Promise.all(jobs.map(({ jobId }) => cluster.events(jobId)));
      for (const [i, records] of logs.entries()) {
        const { ids } = jobs[i]!;
        const expected = await alone(requestOf(request(ids)));
        expect(answered(records).ids).toEqual(expected.ids);
        expect(records.at(-1)!.event).toMatchObject({ type: "finished", usage: { promptTokens: ids.length, cachedTokens: 0 } });
        expect(Math.max(...records.map(({ attempt }) => attempt))).toBeLessThanOrEqual(attempts);
      }
      await cluster.close();
      return logs;
    },
  };
}

export const isYield = ({ event }: LogRecord) => event.type === "released" && event.reason === TURN_IS_OVER;
export const yields = (logs: readonly (readonly LogRecord[])[]) => logs.flat().filter(isYield).length;
export const long = (salt: number, tokens = 2_500) => promptIds(tokens, salt);
export const short = promptIds(50, 400);
