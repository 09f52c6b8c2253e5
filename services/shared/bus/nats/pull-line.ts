import { createInbox, type Msg } from "nats";
import { nanos } from "./api.ts";
import type { Connection } from "./connection.ts";
import { isStatus } from "./messages.ts";
import type { Patience } from "./stream.ts";

/** A request stays open at the server for at most this long, which bounds the cost of a lost one. */
const OPEN_MS = 5_000;

/** `look`: what is there now. `stay`: also what comes later. */
type Manner = "look" | "stay";

interface Inbox {
  readonly subject: string;
  readonly leave: (late: "drain") => void;
}

/** One request for messages at the consumer of a lane, and the inbox they come to. */
export class PullLine {
  readonly #connection: Connection;
  readonly #patience: Patience;
  readonly #given: (message: Msg) => void;
  readonly #ended: (trouble: string | null) => void;
  #inbox: Inbox | null = null;
  #asked: { readonly manner: Manner; readonly untilMs: number; left: number } | null = null;
  #dry = false;

  /** `ended`: called when the server ends a request, with what is wrong if something is. */
  constructor(connection: Connection, patience: Patience, given: (message: Msg) => void, ended: (trouble: string | null) => void) {
    this.#connection = connection;
    this.#patience = patience;
    this.#given = given;
    this.#ended = ended;
  }

  /** Whether the last look found nothing. */
  get dry(): boolean {
    return this.#dry;
  }
  /** Whether a request stays open. */
  get stays(): boolean {
    return this.#asked?.manner === "stay";
  }
  /** When the request counts as lost; infinite without one. */
  get untilMs(): number {
    return this.#asked?.untilMs ?? Number.POSITIVE_INFINITY;
  }

  /**
   * Whether there is a request. One that the server did not end in time is lost, perhaps because there is no consumer.
   */
  isAsked(nowMs: number): boolean {
    if (nowMs >= this.untilMs) {
      this.forget();
      this.#ended("it does not answer");
    }
    return this.#asked !== null;
  }

  /** Requests up to `count` messages. There must be no request yet. */
  ask(next: string, count: number, manner: Manner): void {
    const { clock, tryMs } = this.#patience;
    const { subject } = this.#open();
    this.#dry = false;
    this.#asked = { manner, left: count, untilMs: clock.monotonicMs() + tryMs + (manner === "stay" ? OPEN_MS : 0) };
    const how = manner === "stay" ? { expires: nanos(OPEN_MS) } : { no_wait: true };
    this.#connection.publish(next, JSON.stringify({ batch: count, ...how }), subject);
  }

  /** Withdraws the request. Messages on their way still arrive. */
  withdraw(): void {
    if (this.#asked === null) return;
    this.#inbox?.leave("drain");
    this.#inbox = null;
    this.forget();
  }

  /** Drops the request: the server knows of none any more. */
  forget(): void {
    this.#asked = null;
    this.#dry = false;
  }

  #open(): Inbox {
    if (this.#inbox !== null) return this.#inbox;
    const subject = createInbox();
    const leave = this.#connection.subscribe(subject, (message) => {
      const current = this.#inbox?.subject === subject;
      if (!isStatus(message)) {
        if (current && this.#asked !== null && --this.#asked.left === 0) this.#asked = null;
        this.#given(message);
      } else if (current) this.#end(message);
    });
    this.#inbox = { subject, leave };
    return this.#inbox;
  }

  #end(status: Msg): void {
    this.#dry = this.#asked?.manner === "look";
    this.#asked = null;
    this.#ended(troubleIn(status));
  }
}

/** A request that ran out, or found nothing, is no trouble; a consumer that is gone, or has too many requests, is. */
const troubleIn = ({ headers }: Msg): string | null =>
  headers?.code === 404 || headers?.code === 408 ? null : (headers?.description ?? "refused");
