import type { Clock } from "../runtime/clock.ts";
import type { ServingError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/log.ts";
import { toldOf } from "./away.ts";

/** How the appends of a process to the job log wait, those of all its jobs together. */
export interface Wait {
  readonly state: "waits" | "over" | "given up";
  /** How many wait, and since when some do: none was taken while none waited. */
  readonly appends: number;
  readonly waitedMs: number;
  /** How many were given up in that time. */
  readonly givenUp: number;
  /** What was said to the last that was tried. */
  readonly why: ServingError;
}
export type OnWait = (wait: Wait) => void;

/** A wait that is over sooner is not worth a word; it is told again after twice as long each time, and not less often than every five minutes. */
const FIRST_MS = 7_000;
const EVERY_MS_MAX = 300_000;

/** Appends that wait, since when, and what was told of it. */
interface Episode {
  readonly sinceMs: number;
  readonly waiting: Set<string>;
  /** When the last of those was given up, so that none waits; null before. */
  restsMs: number | null;
  tellMs: number;
  isTold: boolean;
  isToldInVain: boolean;
  givenUp: number;
  why: ServingError;
}

/**
 * Tells of appends that wait, and when that is over: once one is taken, and none waits. Until then those that wait in vain one behind the other are told of
 * as one wait. Looks at every try: the next comes after a second, or after as long as an answer may take.
 */
export class AppendWaits {
  readonly #clock: Clock;
  readonly #onWait: OnWait;
  #episode: Episode | null = null;

  constructor(clock: Clock, onWait: OnWait) {
    this.#clock = clock;
    this.#onWait = onWait;
  }

  /** A try of the append `id`, which was begun at `beganMs`, came to nothing, and another will follow. */
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

  /** An append, also one that never waited, ended: because it is known what became of it, or because it was given up. */
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

  /** Nobody knows of a log that was not asked for longer than between two lines. */
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
