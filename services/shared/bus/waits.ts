import type { Clock } from "../runtime/clock.ts";
import type { ServingError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/log.ts";
import { toldOf } from "./away.ts";

/** How the appends of a process to the job log wait, those of all its jobs together. */
export interface Wait {
  readonly state: "waits" | "over" | "given up";
  /** How many wait, and since when some did without a pause. */
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
  tellMs: number;
  givenUp: number;
  why: ServingError;
}

/** Tells of appends that wait, and when that is over. Looks at every try: the next comes after a second, or after as long as an answer may take. */
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
    this.#episode ??= { sinceMs: beganMs, waiting: new Set(), tellMs: FIRST_MS, givenUp: 0, why };
    const episode = this.#episode;
    episode.waiting.add(id);
    episode.why = why;
    const waitedMs = this.#clock.monotonicMs() - episode.sinceMs;
    if (waitedMs < episode.tellMs) return;
    episode.tellMs = waitedMs + Math.min(waitedMs, EVERY_MS_MAX);
    this.#tell(episode, "waits");
  }

  /** It waits no longer: because it is known what became of it, or because it was given up. */
  ended(id: string, end: "over" | "given up"): void {
    const episode = this.#episode;
    if (episode === null || !episode.waiting.delete(id)) return;
    if (end === "given up") episode.givenUp++;
    if (episode.waiting.size > 0) return;
    this.#episode = null;
    if (episode.tellMs > FIRST_MS) this.#tell(episode, end);
  }

  #tell({ sinceMs, waiting, givenUp, why }: Episode, state: Wait["state"]): void {
    this.#onWait({ state, appends: waiting.size, waitedMs: Math.round(this.#clock.monotonicMs() - sinceMs), givenUp, why });
  }
}

export const tellWaits =
  (log: Logger): OnWait =>
  ({ state, why, ...wait }) => {
    if (state === "waits") log.warn(wait, `appends to the job log wait: ${toldOf(why)}`);
    else if (state === "over") log.info(wait, "the job log takes appends again");
    else log.warn(wait, `appends to the job log waited in vain, others take their jobs over: ${toldOf(why)}`);
  };
