import type { Clock } from "../runtime/clock.ts";
import type { HeldJob } from "./held-job.ts";

/** Work done this long ago counts half as much as work done now. */
const HALF_MS = 20_000;

/** Tokens a second, as a worker's beat tells them; null until it has worked. */
export interface PaceFigures {
  /** Of the worker, while it holds jobs. */
  readonly tokensPerSecond: number | null;
  /** Of one job. */
  readonly tokensPerJobSecond: number | null;
}

/** How fast a worker gets tokens done lately: what is found stored counts too, waiting without jobs does not. */
export class Pace {
  readonly #clock: Clock;
  readonly #jobs = new Map<Pick<HeldJob, "tokensDone">, number>();
  #sampledMs: number;
  #tokens = 0;
  #busyMs = 0;
  #jobMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#sampledMs = clock.monotonicMs();
  }

  begin(job: Pick<HeldJob, "tokensDone">): void {
    this.#sample();
    this.#jobs.set(job, job.tokensDone);
  }

  end(job: Pick<HeldJob, "tokensDone">): void {
    this.#sample();
    this.#jobs.delete(job);
  }

  figures(): PaceFigures {
    this.#sample();
    const rate = (ms: number) => (this.#tokens === 0 || ms === 0 ? null : Math.round((1_000 * this.#tokens) / ms));
    return { tokensPerSecond: rate(this.#busyMs), tokensPerJobSecond: rate(this.#jobMs) };
  }

  #sample(): void {
    const nowMs = this.#clock.monotonicMs();
    const ms = nowMs - this.#sampledMs;
    this.#sampledMs = nowMs;
    if (this.#jobs.size === 0) return;
    let tokens = 0;
    for (const [job, before] of this.#jobs) {
      tokens += job.tokensDone - before;
      this.#jobs.set(job, job.tokensDone);
    }
    const kept = 0.5 ** (ms / HALF_MS);
    this.#tokens = kept * this.#tokens + tokens;
    this.#busyMs = kept * this.#busyMs + ms;
    this.#jobMs = kept * this.#jobMs + ms * this.#jobs.size;
  }
}
