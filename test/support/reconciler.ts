import { expect } from "vitest";
import { Reconciler, type ReconcilerDeps } from "../../services/api/reconciler/reconciler.ts";
import type { Bus } from "../../services/shared/bus/contract.ts";
import type { Phase } from "../../services/shared/bus/events.ts";
import type { BusOptions } from "../../services/shared/bus/settings.ts";
import { silentLog } from "../../services/shared/runtime/log.ts";
import { openMetrics } from "../../services/shared/runtime/metrics.ts";
import { request } from "./bus.ts";
import { freshRecord } from "./fresh-record.ts";
import { overriding } from "./overriding.ts";

/** Long against what a test does between two looks at the record's clock, which it moves on itself. */
export const CLAIM_MS = 10_000;
export const DAY_MS = 86_400_000;
export const GRACE_MS = 30_000;
export const BEAT_MS = 1_000;

/** What a reconciler of a test is opened with. */
export const reconcilerOf = (bus: Bus, changes: Partial<ReconcilerDeps> = {}): ReconcilerDeps => ({
  ...{ bus, metrics: openMetrics(), log: silentLog, claimMs: CLAIM_MS, graceMs: GRACE_MS, beatMs: BEAT_MS, retentionMs: DAY_MS },
  ...changes,
});

export const open = (bus: Bus, changes: Partial<ReconcilerDeps> = {}) => Reconciler.open(reconcilerOf(bus, changes));

export const note = (deadlineMs: number) =>
  JSON.stringify({ model: "m", tenant: "tenant", lane: "interactive", promptTokens: 3, deadlineMs });

/** A job as left by an API that dies before it sends the message. */
export async function submitted(bus: Bus, jobId: string, deadlineMs?: number): Promise<void> {
  const due = deadlineMs ?? (await bus.log.nowMs()) + DAY_MS;
  await bus.registry.noteJob(jobId, note(due));
  await bus.log.submit(jobId, request({ model: "m", deadlineMs: due }));
}

export const publish = (bus: Bus, phase: Phase, jobId: string) => bus.queue.publish(phase, "m", "interactive", { jobId, promptTokens: 3 });

/** Phase and job of each message. */
export async function messages(bus: Bus): Promise<string[]> {
  const of = async (phase: Phase) => (await bus.queue.messages(phase)).map(({ jobId }) => `${phase} ${jobId}`);
  return [...(await of("prefill")), ...(await of("decode"))].sort();
}

export const lastType = async (bus: Bus, jobId: string) => (await bus.log.last(jobId))?.event.type;

/**
 * The same bus with the record's clock, as far as others ask for it, in the test's hand. Claims live by the record's
 * own.
 */
export function aging(bus: Bus) {
  let nowMs = () => bus.log.nowMs();
  return {
    ...bus,
    log: overriding(bus.log, { nowMs: () => nowMs() }),
    /** Moves the clock to `ms` after the newest event: what is known of a server's clock may be behind its stamps. */
    async age(ms: number): Promise<void> {
      const before = nowMs;
      const aheadMs = Math.max(0, (await newestMs(bus)) - (await before())) + ms;
      nowMs = async () => (await before()) + aheadMs;
    },
    /** Stops the clock there. */
    stopAt(ms: number): void {
      nowMs = async () => ms;
    },
  };
}

/** Fresh records for a file of tests, each with such a clock. */
export function agingRecord(defaults: Partial<BusOptions>) {
  const record = freshRecord(defaults);
  return { ...record, fresh: async (...of: Parameters<typeof record.fresh>) => aging(await record.fresh(...of)) };
}

/** Waits until nothing was written for `ms` by the record's clock, which a timer may be some milliseconds ahead of. */
export async function quietFor(bus: Bus, ms: number): Promise<void> {
  const sinceMs = await newestMs(bus);
  await expect.poll(() => bus.log.nowMs(), { timeout: ms + 20_000 }).toBeGreaterThan(sinceMs + ms + 20);
}

/** When the log was written to last, by the record's clock. */
async function newestMs(bus: Bus): Promise<number> {
  let newest = 0;
  for await (const { storedMs } of bus.log.lasts()) newest = Math.max(newest, storedMs);
  return newest;
}

/** `target`, which adds the name of each of its methods that is called to `asked`. */
export const counting = <T extends object>(target: T, asked: string[]): T =>
  new Proxy(target, {
    get(_, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      return (...args: unknown[]) => {
        asked.push(String(name));
        return value.apply(target, args);
      };
    },
  });
