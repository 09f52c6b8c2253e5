import { expect } from "vitest";
import { Reconciler, type ReconcilerDeps } from "../../services/api/reconciler/reconciler.ts";
import type { Bus, Phase } from "../../services/shared/bus/contract.ts";
import { openMetrics } from "../../services/shared/runtime/metrics.ts";
import { request } from "./bus.ts";

export const CLAIM_MS = 300;
export const DAY_MS = 86_400_000;

/** What a reconciler of a test is opened with. */
export const reconcilerOf = (bus: Bus, changes: Partial<ReconcilerDeps> = {}): ReconcilerDeps => ({
  ...{ bus, metrics: openMetrics(), claimMs: CLAIM_MS, retentionMs: DAY_MS },
  ...changes,
});

export const open = (bus: Bus, changes: Partial<ReconcilerDeps> = {}) => Reconciler.open(reconcilerOf(bus, changes));

export const note = (deadlineMs: number) =>
  JSON.stringify({ model: "m", tenant: "tenant", lane: "interactive", promptTokens: 3, submittedMs: 0, deadlineMs });

/** A job as an API leaves it that dies before it sends the message. */
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

/** Waits until nothing was written for so long by the record's clock, which a timer may be some milliseconds ahead of. */
export async function quietFor(bus: Bus, ms: number): Promise<void> {
  let newestMs = 0;
  for await (const { storedMs } of bus.log.lasts()) newestMs = Math.max(newestMs, storedMs);
  await expect.poll(() => bus.log.nowMs(), { timeout: ms + 5_000 }).toBeGreaterThan(newestMs + ms + 20);
}

/** `target`, which writes down the name of each of its methods that is called. */
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
