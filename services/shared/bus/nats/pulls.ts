import type { Msg } from "nats";
import { ServingError } from "../../runtime/errors.ts";
import { Pause } from "../../runtime/pause.ts";
import { LANES, type Lane } from "../events.ts";
import type { Connection } from "./connection.ts";
import { PullLine } from "./pull-line.ts";
import type { Patience } from "./stream.ts";

export interface Delivered {
  readonly lane: Lane;
  readonly message: Msg;
}

/** Pull subject of each lane's consumer. */
export type Nexts = Readonly<Record<Lane, string>>;

/**
 * This process's requests at the lanes of a phase and model. A request for as many messages as there is room for stays
 * open at each lane while a pull waits, and the next pull finds it there: a job costs no request of its own. A lane is
 * first asked once those before it are known to have nothing, because a request stays open there. When a turn of the
 * event loop ends in which no pull waits any more, requests are withdrawn, and a message that arrives too late goes
 * back at once: it was delivered for us, this moment, so no other worker is disturbed.
 */
export class Pulls {
  readonly #connection: Connection;
  readonly #patience: Patience;
  /** In the order in which they are asked. */
  readonly #lines: readonly (readonly [Lane, PullLine])[];
  readonly #waiting: Pause[] = [];
  #ready: Delivered[] = [];
  #nexts: Nexts | null = null;
  /** Pulls that began to wait before a trouble reject: consumers may have to be made anew. */
  #troubles = 0;
  #trouble = "";
  #open = false;

  constructor(connection: Connection, patience: Patience) {
    this.#connection = connection;
    this.#patience = patience;
    const ended = (trouble: string | null) => {
      if (trouble !== null) this.#fail(trouble);
      else this.#wakeAll();
    };
    this.#lines = LANES.map((lane) => [lane, new PullLine(connection, patience, (message) => this.#given({ lane, message }), ended)]);
    connection.closing.addEventListener("abort", () => this.#wakeAll());
    const gone = (trouble: string) => {
      for (const [, line] of this.#lines) line.forget();
      this.#fail(trouble);
    };
    connection.onInterruption(() => gone("the connection broke"));
    connection.onRefusal((subject, { message }) => {
      if (this.#nexts !== null && Object.values(this.#nexts).includes(subject)) gone(message);
    });
  }

  /**
   * The next message; null when none came within `waitMs` or the signal aborted. UNAVAILABLE when a consumer refuses,
   * or may be gone.
   */
  async next(nexts: Nexts, room: number, waitMs: number, signal: AbortSignal): Promise<Delivered | null> {
    const { clock } = this.#patience;
    this.#nexts = nexts;
    const waits = this.#take();
    if (waits !== null) return waits;
    const endMs = clock.monotonicMs() + waitMs;
    const pause = new Pause();
    const troubles = this.#troubles;
    this.#waiting.push(pause);
    this.#open = true;
    try {
      for (;;) {
        const ready = this.#take();
        if (ready !== null) return ready;
        if (this.#troubles > troubles) throw new ServingError("UNAVAILABLE", `the queue: ${this.#trouble}`);
        const nowMs = clock.monotonicMs();
        if (signal.aborted || this.#connection.closing.aborted || nowMs >= endMs) return null;
        const untilMs = Math.min(endMs, this.#ask(nexts, room, nowMs));
        if (this.#troubles === troubles) await pause.wait(clock, untilMs - nowMs, signal);
      }
    } finally {
      this.#waiting.splice(this.#waiting.indexOf(pause), 1);
      if (this.#waiting.length === 0) setImmediate(() => this.#withdraw());
    }
  }

  /** Makes sure that the lanes are asked. Returns until when that holds. */
  #ask(nexts: Nexts, room: number, nowMs: number): number {
    for (const [i, [lane, line]] of this.#lines.entries()) {
      const behind = this.#lines[i + 1]?.[1];
      if (!line.isAsked(nowMs)) line.ask(nexts[lane], room, behind === undefined || line.dry || behind.isAsked(nowMs) ? "stay" : "look");
      if (!line.stays) break;
    }
    return Math.min(...this.#lines.map(([, { untilMs }]) => untilMs));
  }

  #take(): Delivered | null {
    for (const first of LANES) {
      const at = this.#ready.findIndex(({ lane }) => lane === first);
      if (at >= 0) return this.#ready.splice(at, 1)[0]!;
    }
    return null;
  }

  #given(delivered: Delivered): void {
    if (this.#open) this.#ready.push(delivered);
    else this.#giveBack(delivered);
    this.#wakeAll();
  }

  #withdraw(): void {
    if (this.#waiting.length > 0) return;
    this.#open = false;
    for (const [, line] of this.#lines) line.withdraw();
    for (const delivered of this.#ready.splice(0)) this.#giveBack(delivered);
  }

  #fail(trouble: string): void {
    this.#troubles++;
    this.#trouble = trouble;
    this.#wakeAll();
  }

  #giveBack({ message }: Delivered): void {
    this.#connection.publish(message.reply ?? "", "-NAK");
  }

  #wakeAll(): void {
    for (const pause of this.#waiting) pause.end();
  }
}
