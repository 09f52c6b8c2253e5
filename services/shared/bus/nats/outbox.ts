import type { MsgHdrs, Subscription } from "nats";
import type { Clock } from "../../runtime/clock.ts";

/** How long a message without hurry waits for another to go out with: a write costs more than its bytes. */
const LATER_MS = 10;

interface Outgoing {
  readonly subject: string;
  readonly data: Uint8Array | string;
  readonly options: { readonly reply?: string; readonly headers?: MsgHdrs };
  /** Called if it could not be sent. */
  failed(cause: Error): void;
}

/** Batches a process's writes to NATS: everything queued in one turn of the event loop leaves in one write. */
export class Outbox {
  readonly #clock: Clock;
  readonly #publish: (outgoing: Outgoing) => void;
  #waiting: Outgoing[] = [];
  /** Subscriptions that end with the next write. */
  readonly #leaving = new Set<Subscription>();
  #hurrying = false;
  /** Cancels the wait of messages without hurry. */
  #unwait: (() => void) | null = null;

  /** `publish` throws for a message that is too large, or when the connection is closing. */
  constructor(clock: Clock, publish: (outgoing: Outgoing) => void) {
    this.#clock = clock;
    this.#publish = publish;
  }

  send(outgoing: Outgoing): void {
    this.#waiting.push(outgoing);
    if (this.#hurrying) return;
    this.#hurrying = true;
    setImmediate(() => this.flush());
  }

  /** Goes out with whatever is sent next, or after a moment. */
  mention(outgoing: Outgoing): void {
    this.#waiting.push(outgoing);
    this.#wait();
  }

  /** Ends a subscription with whatever is sent next, or after a moment. */
  leave(subscription: Subscription | null): void {
    if (subscription !== null) this.#leaving.add(subscription);
    this.#wait();
  }

  flush(): void {
    const all = this.#waiting;
    this.#waiting = [];
    this.#hurrying = false;
    this.#unwait?.();
    this.#unwait = null;
    for (const outgoing of all) {
      try {
        this.#publish(outgoing);
      } catch (cause) {
        outgoing.failed(cause as Error);
      }
    }
    this.#leave();
  }

  /** The connection broke: what was queued is dropped. */
  drop(): void {
    this.#waiting = [];
    this.#leave();
  }

  #wait(): void {
    if (!this.#hurrying) this.#unwait ??= this.#clock.after(LATER_MS, () => this.flush());
  }

  #leave(): void {
    for (const subscription of this.#leaving) subscription.unsubscribe();
    this.#leaving.clear();
  }
}
