import type { Clock } from "../runtime/clock.ts";
import type { ServingError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/log.ts";
import { toldOf } from "./away.ts";

/** How a process's appends to the job log wait, those of all its jobs together. */
export interface Wait {
  readonly state: "waits" | "over" | "given up";
  /** How many wait, and how long the wait has lasted: it ends when an append is taken and none waits. */
  readonly appends: number;
  readonly waitedMs: number;
  /** How many were given up in that time. */
  readonly givenUp: number;
  /** Why the last try failed. */
  readonly why: ServingError;
}
export type OnWait = (wait: Wait) => void;

/**
 * A shorter wait is not reported. Reports of one wait come after twice as long each time, but at least every five
 * minutes.
 */
const FIRST_MS = 7_000;
const EVERY_MS_MAX = 300_000;

/** Appends that wait, since when, and what was reported. */
interface Episode {
  readonly sinceMs: number;
  readonly waiting: Set<string>;
  /** When the last of them was given up, so that none waits; null before. */
  restsMs: number | null;
  tellMs: number;
  isTold: boolean;
  isToldInVain: boolean;
  givenUp: number;
  why: ServingError;
}

/**
 * Reports that appends wait, and when that is over: once one is taken, and none waits. Until then, appends that wait in
 * vain one after the other are reported as one wait. Looks at every try: the next comes after a second, or after as
 * long as an answer may take.
 */
export class AppendWaits {
  readonly #clock: Clock;
  readonly #onWait: OnWait;
  #episode: Episode | null = null;

  constructor(clock: Clock, onWait: OnWait) {
    this.#clock = clock;
    this.#onWait = onWait;
  }

  /** A try of the append `id`, begun at `beganMs`, failed, and another will follow. */
  failed(id: string, beganMs: number, why: ServingError): void {
    const nowMs = this.#clock.monotonicMs();
    const episode = this.#goingOn(nowMs) ?? begun(beganMs, why);
    this.#episode = episode;
    episode.waiting.add(id);
    episode.restsMs = null;
    episode.why = why;
    const waitedMs = nowMs - episode.sinceMs;
    if (waitedMs < episode.tellMs) return;
    episode.tellMs = waitedMs + Math.min(waitedMs, EVERY_MS_MAX);
    episode.isTold = true;
    this.#tell(episode, "waits");
  }

  /** An append ended, whether it waited or not: its outcome is known, or it was given up. */
  ended(id: string, end: "over" | "given up"): void {
    const episode = this.#episode;
    if (episode === null) return;
    const waited = episode.waiting.delete(id);
    if (end === "given up") this.#gaveUp(episode, waited);
    else if (episode.waiting.size === 0) {
      this.#episode = null;
      if (episode.isTold) this.#tell(episode, "over");
    }
  }

  #gaveUp(episode: Episode, waited: boolean): void {
    if (!waited) return;
    episode.givenUp++;
    if (episode.waiting.size > 0) return;
    episode.restsMs = this.#clock.monotonicMs();
    if (!episode.isTold || episode.isToldInVain) return;
    episode.isToldInVain = true;
    this.#tell(episode, "given up");
  }

  /**
   * The wait that goes on; null if the log was not asked for longer than between two reports, so that nothing is known
   * of it.
   */
  #goingOn(nowMs: number): Episode | null {
    const restsMs = this.#episode?.restsMs ?? nowMs;
    return nowMs - restsMs > EVERY_MS_MAX ? null : this.#episode;
  }

  #tell({ sinceMs, waiting, givenUp, why }: Episode, state: Wait["state"]): void {
    this.#onWait({ state, appends: waiting.size, waitedMs: Math.round(this.#clock.monotonicMs() - sinceMs), givenUp, why });
  }
}

const begun = (sinceMs: number, why: ServingError): Episode => ({
  ...{ sinceMs, waiting: new Set(), restsMs: null, tellMs: FIRST_MS, isTold: false, isToldInVain: false, givenUp: 0, why },
});

export const tellWaits =
  (log: Logger): OnWait =>
  ({ state, why, ...wait }) => {
    if (state === "waits") log.warn(wait, `appends to the job log wait: ${toldOf(why)}`);
    else if (state === "over") log.info(wait, "the job log takes appends again");
    else log.warn(wait, `appends to the job log waited in vain, others take their jobs over: ${toldOf(why)}`);
  };
