import { createInbox, type Msg } from "nats";
import type { Clock } from "../../runtime/clock.ts";

interface Waiting {
  readonly subject: string;
  readonly dueMs: number;
  resolve(message: Msg): void;
  reject(cause: Error): void;
}

/** The server's status for a request without responders. */
const NO_RESPONDERS = 503;
export const UNHEARD = "nobody answers there";
export const UNANSWERED = "no answer in time";

/**
 * Pending requests: all answers come to one inbox, and one timer watches all deadlines. The library's own requests cost
 * a timer, a race and an error of their own each, half of what a short job asks of a process.
 */
export class Requests {
  /** Where answers come to: `inbox.*`. */
  readonly inbox = createInbox();
  readonly #clock: Clock;
  readonly #tryMs: number;
  /** By the last token of the answer's subject, in the order of their deadlines. */
  readonly #waiting = new Map<string, Waiting>();
  #last = 0;
  /** Ends the watch, while there is one. */
  #unwatch: (() => void) | null = null;

  constructor(clock: Clock, tryMs: number) {
    this.#clock = clock;
    this.#tryMs = tryMs;
  }

  /**
   * Calls `send` with the reply subject; resolves to the answer. Rejects after `tryMs`, without responders or
   * permission, and when the connection breaks.
   */
  ask(subject: string, send: (reply: string, failed: (cause: Error) => void) => void): Promise<Msg> {
    const name = (++this.#last).toString(36);
    return new Promise((resolve, reject) => {
      this.#waiting.set(name, { subject, dueMs: this.#clock.monotonicMs() + this.#tryMs, resolve, reject });
      if (this.#unwatch === null) this.#watch(this.#tryMs);
      send(`${this.inbox}.${name}`, (cause) => {
        this.#waiting.delete(name);
        reject(cause);
      });
    });
  }

  answered(message: Msg): void {
    const name = message.subject.slice(this.inbox.length + 1);
    const waiting = this.#waiting.get(name);
    if (waiting === undefined) return; // it came too late
    this.#waiting.delete(name);
    if (message.data.length === 0 && message.headers?.code === NO_RESPONDERS) waiting.reject(new Error(UNHEARD));
    else waiting.resolve(message);
  }

  /** The server does not let us publish to this subject. */
  refuse(subject: string, cause: Error): void {
    for (const [name, waiting] of this.#waiting) {
      if (waiting.subject !== subject) continue;
      this.#waiting.delete(name);
      waiting.reject(cause);
    }
  }

  /** No pending request will be answered any more. */
  fail(cause: Error): void {
    const all = [...this.#waiting.values()];
    this.#waiting.clear();
    this.#unwatch?.();
    this.#unwatch = null;
    for (const { reject } of all) reject(cause);
  }

  #watch(ms: number): void {
    this.#unwatch = this.#clock.after(ms, () => {
      this.#unwatch = null;
      const nowMs = this.#clock.monotonicMs();
      for (const [name, { dueMs, reject }] of this.#waiting) {
        if (dueMs > nowMs) return this.#watch(dueMs - nowMs);
        this.#waiting.delete(name);
        reject(new Error(UNANSWERED));
      }
    });
  }
}
