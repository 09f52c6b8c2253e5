import { setMaxListeners } from "node:events";
import { beatWhile } from "../../shared/bus/beat.ts";
import { isUnavailable } from "../../shared/runtime/errors.ts";
import { linked } from "../../shared/runtime/pause.ts";
import { ABSENT_BEATS, leftBy, readersOf, type Shown } from "../beats.ts";
import { cancelJob } from "./jobs.ts";

/** Who comes to read a job. */
export interface Reader {
  readonly owned: boolean;
  readonly shared?: boolean;
  readonly detached: boolean;
}

/** One job's readers on this replica. */
interface Reading {
  count: number;
  owned: boolean;
  /** Takes back what others see of it; null: they see nothing. */
  hide: (() => void) | null;
  /** Grows with every arrival, so that a grace knows whether somebody came since it began. */
  arrivals: number;
}

/**
 * Knows who reads what, so that work nobody waits for is not done (design 4.6). The replica that took a request cancels it once no reader
 * has been here for `graceMs` and no other replica shows one; if that replica is gone, the reconciler does (`reconciler/orphans.ts`).
 */
export class Readers {
  readonly #deps: Shown;
  readonly #readings = new Map<string, Reading>();
  readonly #closing = new AbortController();

  constructor(deps: Shown) {
    this.#deps = deps;
    setMaxListeners(0, this.#closing.signal); // as many sleepers as jobs are read here
  }

  /** Jobs read here, or waiting for a reader to come back. */
  get count(): number {
    return this.#readings.size;
  }

  close(): void {
    this.#closing.abort(new Error("shutting down"));
  }

  /**
   * A reader of this replica came; call the result when it left, with true if it saw the job's end. `owned`: this replica took the request
   * and answers for its end. `shared`: others may too, since its id is not of this request alone. `detached`: the job lives on without readers.
   */
  enter(jobId: string, { owned, shared = false, detached }: Reader): (ended: boolean) => void {
    const reading = this.#readings.get(jobId) ?? { count: 0, owned: false, hide: null, arrivals: 0 };
    this.#readings.set(jobId, reading);
    reading.count++;
    reading.arrivals++;
    reading.owned ||= owned;
    if (!owned || shared) reading.hide ??= this.#show(jobId);
    return (ended) => {
      reading.count--;
      if (reading.count > 0) return;
      reading.hide?.();
      reading.hide = null;
      if (reading.owned && !detached && !ended) {
        inBackground(this.#beatWhileLeft(jobId, reading));
        inBackground(this.#cancelUnread(jobId, reading));
      } else this.#readings.delete(jobId);
    };
  }

  /** Shows that it is read here, until the result is called. */
  #show(jobId: string): () => void {
    const { bus, replica } = this.#deps;
    const hidden = new AbortController();
    const either = linked(hidden.signal, this.#closing.signal);
    inBackground(this.#beat(readersOf(jobId), () => true, either.signal));
    return () => {
      hidden.abort(new Error("its last reader left"));
      either.release();
      inBackground(bus.registry.retire(readersOf(jobId), replica));
    };
  }

  /** A retry of the request may join the job then, on any replica. */
  #beatWhileLeft(jobId: string, reading: Reading): Promise<void> {
    return this.#beat(leftBy(jobId), () => reading.count === 0 && this.#readings.get(jobId) === reading, this.#closing.signal);
  }

  #beat(role: string, wanted: () => boolean, signal: AbortSignal): Promise<void> {
    const { bus, clock, beatMs, replica } = this.#deps;
    return beatWhile({ registry: bus.registry, clock, beatMs }, role, replica, () => (wanted() ? "" : null), signal);
  }

  async #cancelUnread(jobId: string, reading: Reading): Promise<void> {
    const { clock, graceMs } = this.#deps;
    const { arrivals } = reading;
    for (let done = false; !done; ) {
      await clock.sleep(graceMs, this.#closing.signal);
      done = await this.#cancelIfUnread(jobId, reading, arrivals).catch((thrown) => this.#whileAway(thrown));
    }
  }

  /** False while somebody reads it elsewhere. Whoever came here begins a grace of his own when he leaves. */
  async #cancelIfUnread(jobId: string, reading: Reading, arrivals: number): Promise<boolean> {
    const elsewhere = await this.#isReadElsewhere(jobId);
    if (reading.arrivals > arrivals || (this.#readings.get(jobId) ?? reading) !== reading) return true;
    if (elsewhere) return false;
    this.#readings.delete(jobId);
    await cancelJob(this.#deps.bus, jobId, "its last reader left");
    return true;
  }

  async #whileAway(thrown: unknown): Promise<false> {
    if (!isUnavailable(thrown)) throw thrown;
    await this.#deps.clock.sleep(this.#deps.beatMs, this.#closing.signal);
    return false;
  }

  /** Asked twice, some beats apart: those who still read may have been forgotten. */
  async #isReadElsewhere(jobId: string): Promise<boolean> {
    const { bus, clock, beatMs } = this.#deps;
    if ((await bus.registry.beats(readersOf(jobId))).size > 0) return true;
    await clock.sleep(ABSENT_BEATS * beatMs, this.#closing.signal);
    return (await bus.registry.beats(readersOf(jobId))).size > 0;
  }
}

/** Rejects when closing: the job runs to its end. */
const inBackground = (work: Promise<void>): void => void work.catch(() => {});
