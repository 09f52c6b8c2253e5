import type { Tokens } from "../shared/bus/events.ts";
import type { Drawn, TokenLogprobs } from "../shared/engine/engine.ts";
import type { Clock } from "../shared/runtime/clock.ts";
import { Pause } from "../shared/runtime/pause.ts";
import type { HeldJob } from "../shared/worker/held-job.ts";

/** Tokens a job may be ahead of its log before it must wait; the others in the running batch do not. */
const AHEAD_MAX = 64;

export interface Flushing {
  /** Tokens appended together, and the longest one waits for others. */
  readonly flushTokens: number;
  readonly flushMs: number;
}

/** The one writer of a job's answer: appends its tokens in order and in small batches, beside the step loop. */
export class TokenWriter {
  readonly #job: HeldJob;
  readonly #clock: Clock;
  readonly #flushing: Flushing;
  /** Called whenever a full writer has room again. */
  readonly #onRoom: () => void;
  /** Index in the answer of the first pending id. */
  #first: number;
  #pending: Drawn[] = [];
  #appending = 0;
  readonly #pause = new Pause();
  #running: Promise<void> = Promise.resolve();
  #busy = false;
  #closing = false;
  #finishing = false;

  constructor(job: HeldJob, clock: Clock, flushing: Flushing, first: number, onRoom: () => void) {
    this.#job = job;
    this.#clock = clock;
    this.#flushing = flushing;
    this.#first = first;
    this.#onRoom = onRoom;
  }

  get full(): boolean {
    return this.#pending.length + this.#appending >= AHEAD_MAX;
  }

  add(token: number, logprobs?: TokenLogprobs): void {
    this.#pending.push(logprobs === undefined ? { token } : { token, logprobs });
    if (this.#pending.length >= this.#flushing.flushTokens) this.#pause.end();
    if (!this.#busy) this.#running = this.#run();
  }

  /** Resolves once every token added is in the log. Throws what interrupted the job if one is not. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#pause.end();
    await this.#running;
    if (this.#pending.length > 0) throw this.#job.signal.reason;
  }

  /**
   * Instead of `close` when the answer has ended: once all tokens before them are in the log, resolves to those that
   * the event that ends the job brings.
   */
  async finish(): Promise<{ readonly tokens?: Tokens }> {
    this.#finishing = true;
    this.#pause.end();
    await this.#running;
    return this.#pending.length === 0 ? {} : { tokens: tokensOf(this.#first, this.#pending) };
  }

  async #run(): Promise<void> {
    this.#busy = true;
    do {
      if (!this.#closing && !this.#finishing && this.#pending.length < this.#flushing.flushTokens) {
        await this.#pause.wait(this.#clock, this.#flushing.flushMs);
      }
      if (this.#finishing) break;
    } while ((await this.#flush()) && this.#pending.length > 0);
    this.#busy = false;
  }

  /** False if the log did not take it; the job is interrupted then. */
  async #flush(): Promise<boolean> {
    const drawn = this.#pending.splice(0);
    this.#appending = drawn.length;
    try {
      await this.#job.append({ type: "tokens", ...tokensOf(this.#first, drawn) });
    } catch (thrown) {
      this.#pending.unshift(...drawn);
      this.#appending = 0;
      this.#job.interrupt(thrown);
      return false;
    }
    this.#first += drawn.length;
    const wasFull = this.full; // now, not before: it may have become full while the log was slow
    this.#appending = 0;
    if (wasFull) this.#onRoom();
    return true;
  }
}

function tokensOf(first: number, drawn: readonly Drawn[]): Tokens {
  const logprobs = drawn.flatMap((each) => each.logprobs ?? []);
  return { first, ids: drawn.map(({ token }) => token), ...(logprobs.length === 0 ? {} : { logprobs }) };
}
