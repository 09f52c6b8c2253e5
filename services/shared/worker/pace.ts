import type { Clock } from "../runtime/clock.ts";
import type { HeldJob } from "./held-job.ts";

/** Work done this long ago counts half as much as work done now. */
const HALF_MS = 20_000;

/** Tokens a second, as reported in a worker's beat; null until it has worked. */
interface PaceFigures {
  /** Of the worker, while it holds jobs. */
  readonly tokensPerSecond: number | null;
  /** Of one job. */
  readonly tokensPerJobSecond: number | null;
}

/** A worker's recent rate. Tokens found in the store count; time without jobs does not. */
export class Pace {
  readonly #clock: Clock;
  readonly #jobs = new Map<Pick<HeldJob, "tokensDone">, number>();
  #passedMs: number;
  #tokens = 0;
  #busyMs = 0;
  #jobMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#passedMs = clock.monotonicMs();
  }

  begin(job: Pick<HeldJob, "tokensDone">): void {
    this.#pass();
    this.#jobs.set(job, job.tokensDone);
  }

  end(job: Pick<HeldJob, "tokensDone">): void {
    this.#pass();
    this.#count(job);
    this.#jobs.delete(job);
  }

  figures(): PaceFigures {
    this.#pass();
    for (const job of this.#jobs.keys()) this.#count(job);
    const rate = (ms: number) => (this.#tokens === 0 || ms === 0 ? null : (1_000 * this.#tokens) / ms);
    return { tokensPerSecond: rate(this.#busyMs), tokensPerJobSecond: rate(this.#jobMs) };
  }

  /** Adds the tokens a job has done since it was last counted. */
  #count(job: Pick<HeldJob, "tokensDone">): void {
    this.#tokens += job.tokensDone - (this.#jobs.get(job) ?? job.tokensDone);
    this.#jobs.set(job, job.tokensDone);
  }

  /** Accounts for the time since the last call, during which the current jobs were held. */
  #pass(): void {
    const nowMs = this.#clock.monotonicMs();
    const ms = nowMs - this.#passedMs;
    this.#passedMs = nowMs;
    if (this.#jobs.size === 0) return;
    const kept = 0.5 ** (ms / HALF_MS);
    this.#tokens *= kept;
    this.#busyMs = kept * this.#busyMs + ms;
    this.#jobMs = kept * this.#jobMs + ms * this.#jobs.size;
  }
}
