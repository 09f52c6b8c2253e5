import { setMaxListeners } from "node:events";
import { type Bus, isTerminal } from "../shared/bus/contract.ts";
import type { Clock } from "../shared/runtime/clock.ts";

export interface Readers {
  /** A reader of this replica came; call the result when it left. `owned`: this replica took the request, so it also ends what nobody reads. */
  enter(jobId: string, options: { readonly owned: boolean; readonly detached: boolean }): () => void;
  /** Readers on this replica now. */
  readonly count: number;
  close(): void;
}

/**
 * Knows who reads what, so that work nobody waits for is not done (design 4.6). The replica that took a request cancels it once its last
 * reader has been gone for `graceMs` and no other replica shows a reader of it; if that replica dies, the job runs to its end.
 */
export function openReaders({
  bus,
  clock,
  graceMs,
  beatMs,
  replica,
}: {
  bus: Bus;
  clock: Clock;
  graceMs: number;
  beatMs: number;
  replica: string;
}): Readers {
  const counts = new Map<string, number>();
  const closing = new AbortController();
  setMaxListeners(0, closing.signal); // as many sleepers as jobs are read here

  const cancelUnread = async (jobId: string) => {
    await clock.sleep(graceMs, closing.signal);
    if (counts.has(jobId) || (await bus.registry.beats(role(jobId))).size > 0) return;
    await cancelJob(bus, jobId, "its last reader left");
  };
  const beatWhileRead = async (jobId: string) => {
    while (counts.has(jobId)) {
      await bus.registry.beat(role(jobId), replica, "");
      await clock.sleep(beatMs, closing.signal);
    }
    await bus.registry.retire(role(jobId), replica);
  };
  const inBackground = (work: Promise<void>) => void work.catch(() => {}); // closing, or the record is away: the deadline ends the job

  return {
    enter(jobId, { owned, detached }) {
      const before = counts.get(jobId) ?? 0;
      counts.set(jobId, before + 1);
      if (!owned && before === 0) inBackground(beatWhileRead(jobId));
      let here = true;
      return () => {
        if (!here) return;
        here = false;
        const left = (counts.get(jobId) ?? 1) - 1;
        if (left > 0) counts.set(jobId, left);
        else counts.delete(jobId);
        if (left === 0 && owned && !detached) inBackground(cancelUnread(jobId));
      };
    },
    get count() {
      return [...counts.values()].reduce((sum, count) => sum + count, 0);
    },
    close: () => closing.abort(new Error("shutting down")),
  };
}

const role = (jobId: string) => `reader.${jobId}`;

/** Marks the job, nudges whoever holds it, and where nobody does appends `cancelled` itself. Resolves to false if the job had ended or is unknown. */
export async function cancelJob(bus: Bus, jobId: string, by: string): Promise<boolean> {
  const first = await bus.log.last(jobId);
  if (first === null || isTerminal(first.event)) return false;
  await bus.registry.markCancelled(jobId, by);
  const last = (await bus.log.last(jobId)) ?? first;
  const waiting =
    last.event.type === "submitted" ||
    last.event.type === "handed_over" ||
    last.event.type === "sent_back" ||
    last.event.type === "released";
  if (waiting) await bus.log.appendAfter(last, { type: "cancelled", by });
  return true;
}
