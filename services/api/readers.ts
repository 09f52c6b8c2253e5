import { setMaxListeners } from "node:events";
import { beatWhile } from "../shared/bus/beat.ts";
import type { Bus } from "../shared/bus/contract.ts";
import { isUnavailable } from "../shared/bus/pause.ts";
import type { Clock } from "../shared/runtime/clock.ts";
import { leftBy, readersOf } from "./beats.ts";
import { cancelJob } from "./jobs.ts";

export interface Readers {
  /**
   * A reader of this replica came; call the result when it left, with true if it saw the job's end. `owned`: this replica took the request
   * and answers for its end. `detached`: the job lives on without readers.
   */
  enter(jobId: string, options: { readonly owned: boolean; readonly detached: boolean }): (ended: boolean) => void;
  /** Jobs read here, or waiting for a reader to come back. */
  readonly count: number;
  close(): void;
}

/** One job's readers on this replica. */
interface Reading {
  count: number;
  owned: boolean;
  /** Grows with every arrival, so that a grace knows whether somebody came since it began. */
  arrivals: number;
}

/**
 * Knows who reads what, so that work nobody waits for is not done (design 4.6). The replica that took a request cancels it once no reader
 * has been here for `graceMs` and no other replica shows one; if that replica dies, the job runs to its end.
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
  const readings = new Map<string, Reading>();
  const closing = new AbortController();
  setMaxListeners(0, closing.signal); // as many sleepers as jobs are read here

  const cancelUnread = async (jobId: string, reading: Reading) => {
    const { arrivals } = reading;
    for (let done = false; !done; ) {
      await clock.sleep(graceMs, closing.signal);
      done = await cancelIfUnread(jobId, reading, arrivals).catch(whileAway);
    }
  };
  /** False while somebody reads it elsewhere. Whoever came here begins a grace of his own when he leaves. */
  const cancelIfUnread = async (jobId: string, reading: Reading, arrivals: number) => {
    const elsewhere = await isReadElsewhere(jobId);
    if (reading.arrivals > arrivals || (readings.get(jobId) ?? reading) !== reading) return true;
    if (elsewhere) return false;
    readings.delete(jobId);
    await cancelJob(bus, jobId, "its last reader left");
    return true;
  };
  const whileAway = async (thrown: unknown) => {
    if (!isUnavailable(thrown)) throw thrown;
    await clock.sleep(beatMs, closing.signal);
    return false;
  };
  /** Asked twice, two beats apart: a server that was started again has forgotten those who still read. */
  const isReadElsewhere = async (jobId: string) => {
    if ((await bus.registry.beats(readersOf(jobId))).size > 0) return true;
    await clock.sleep(2 * beatMs, closing.signal);
    return (await bus.registry.beats(readersOf(jobId))).size > 0;
  };
  const beating = { registry: bus.registry, clock, beatMs };
  const beatWhileRead = (jobId: string, reading: Reading) =>
    beatWhile(beating, readersOf(jobId), replica, () => (reading.count > 0 ? "" : null), closing.signal);
  /** A retry of the request may join the job then, on any replica. */
  const beatWhileLeft = (jobId: string, reading: Reading) => {
    const isLeft = () => reading.count === 0 && readings.get(jobId) === reading;
    return beatWhile(beating, leftBy(jobId), replica, () => (isLeft() ? "" : null), closing.signal);
  };
  const inBackground = (work: Promise<void>) => void work.catch(() => {}); // closing: the job runs to its end

  return {
    enter(jobId, { owned, detached }) {
      const reading = readings.get(jobId) ?? { count: 0, owned: false, arrivals: 0 };
      readings.set(jobId, reading);
      reading.count++;
      reading.arrivals++;
      reading.owned ||= owned;
      if (!reading.owned && reading.count === 1) inBackground(beatWhileRead(jobId, reading));
      return (ended) => {
        reading.count--;
        if (reading.count > 0) return;
        if (reading.owned && !detached && !ended) {
          inBackground(beatWhileLeft(jobId, reading));
          inBackground(cancelUnread(jobId, reading));
        } else readings.delete(jobId);
      };
    },
    get count() {
      return readings.size;
    },
    close: () => closing.abort(new Error("shutting down")),
  };
}
