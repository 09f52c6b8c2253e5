import { expect } from "vitest";
import type { JobRequest, LogRecord } from "../../services/shared/bus/events.ts";
import { NO_ROOM } from "../../services/shared/bus/reasons.ts";
import type { WeightlessOptions } from "../../services/shared/engine/weightless/options.ts";
import type { SegmentStore } from "../../services/shared/segments/contract.ts";
import { alone } from "./alone.ts";
import { countingPages, type HeldPages } from "./held-pages.ts";
import { engineOptions, promptIds, SEGMENT } from "./model.ts";
import { VirtualClock } from "./virtual-clock.ts";
import { memoryStore, requestOf, type Settings, testCluster } from "./workers.ts";

/** `kvBytes` of the weightless engine: four bytes a token, and four for each sequence. */
export const roomFor = (pages: number, sequences = 40) => ({ kvBytes: 4 * SEGMENT * pages + 4 * sequences });

/** A job of `pages` pages, and an answer that ends on the last of them. */
export const job = (pages: number, salt: number, more: Partial<JobRequest> = {}): Partial<JobRequest> => ({
  prompt: { ids: promptIds(pages * SEGMENT - 20, salt) },
  maxTokens: 15,
  stopIds: [],
  deadlineMs: 1e15,
  ...more,
});

/** Prefill draws the first token of the answer; `tokens` come from decode. */
export const isDecoded = ({ event }: LogRecord): boolean => event.type === "tokens";
export const isClaimedToDecode = ({ event, phase }: LogRecord): boolean => event.type === "claimed" && phase === "decode";

export const releases = (logs: readonly LogRecord[][], reason: string): number =>
  logs.flat().filter(({ event }) => event.type === "released" && event.reason === reason).length;
export const crowdedOut = (logs: readonly LogRecord[][]): number => releases(logs, NO_ROOM);

export type KvCluster = ReturnType<typeof kvCluster>;

/** A cluster on a clock of its own whose workers may hold little. */
export function kvCluster(storeOf = (store: SegmentStore) => store) {
  const clock = new VirtualClock();
  const cluster = testCluster({ clock, store: storeOf(memoryStore(clock)) });
  return {
    clock,
    cluster,
    /** A worker whose sequences' pages are counted. */
    start(role: "prefill" | "decode", settings: Partial<Settings>, engine: WeightlessOptions = {}): HeldPages {
      let counted: HeldPages | null = null;
      const engineOf = (engine: Parameters<typeof countingPages>[0]) => {
        counted = countingPages(engine);
        return counted.engine;
      };
      cluster.start(role, { settings, engine, engineOf });
      return counted!;
    },
    submitAll: (requests: readonly Partial<JobRequest>[]) => Promise.all(requests.map((request) => cluster.submit(request))),
    /** The log of each job. Checks that all ended with the ids of the engine alone, in one attempt. */
    async ended(
      requests: readonly Partial<JobRequest>[],
      jobs: readonly string[],
      options: WeightlessOptions = {},
    ): Promise<LogRecord[][]> {
      const logs = await Promise.all(jobs.map((jobId) => cluster.events(jobId)));
      for (const [i, jobId] of jobs.entries()) {
        const { ids, reason } = await alone(requestOf(requests[i]!), { ...engineOptions, ...options });
        expect(await cluster.answer(jobId)).toMatchObject({ ids, end: { type: "finished", reason } });
        expect(Math.max(...logs[i]!.map(({ attempt }) => attempt))).toBeLessThanOrEqual(1);
      }
      return logs;
    },
  };
}
