import type { Clock } from "../../runtime/clock.ts";
import { ServingError } from "../../runtime/errors.ts";
import { linked, Pause } from "../../runtime/pause.ts";
import type { JobQueue, Message, Waiting, WorkItem } from "../contract.ts";
import { LANES, type Lane, type Phase } from "../events.ts";

interface QueueBounds {
  /** A delivered message comes again after this long without a sign of life. */
  readonly ackWaitMs: number;
  /** How long the message id of a publish is remembered. */
  readonly dedupeMs: number;
  /** Messages a phase may hold. */
  readonly messagesMax: number;
}

interface Kept {
  readonly item: WorkItem;
  deliveries: number;
  /** Not delivered again before this time (monotonic). */
  dueMs: number;
}

/** Messages of one phase, model and lane, oldest first. */
interface Line {
  readonly phase: Phase;
  readonly model: string;
  readonly lane: Lane;
  readonly messages: Set<Kept>;
}

/**
 * A queue that lives and dies with the process. Redelivery is checked while a pull waits, so it needs no timer of its
 * own.
 */
export class MemoryQueue implements JobQueue {
  readonly #bounds: QueueBounds;
  readonly #clock: Clock;
  readonly #closing: AbortSignal;
  readonly #lines = new Map<string, Line>();
  readonly #published = new Map<string, number>();
  readonly #pulling = new Set<Pause>();

  constructor(bounds: QueueBounds, clock: Clock, closing: AbortSignal) {
    this.#bounds = bounds;
    this.#clock = clock;
    this.#closing = closing;
  }

  async publish(phase: Phase, model: string, lane: Lane, item: WorkItem): Promise<void> {
    const id = item.follows === undefined ? null : `${item.jobId}:${item.follows}:${phase}`;
    if (id !== null && this.#isRepeated(id)) return;
    const line = this.#line(phase, model, lane);
    if (line.size >= this.#bounds.messagesMax) throw new ServingError("OVERLOADED", `the ${phase} queue is full; try again later`);
    if (id !== null) this.#published.set(id, this.#clock.monotonicMs());
    line.add({ item, deliveries: 0, dueMs: 0 });
    this.#wake();
  }

  async pull(phase: Phase, model: string, waitMs: number, signal: AbortSignal): Promise<Message | null> {
    const either = linked(signal, this.#closing);
    const pause = new Pause();
    this.#pulling.add(pause);
    try {
      return await this.#pull(phase, model, this.#clock.monotonicMs() + waitMs, pause, either.signal);
    } finally {
      this.#pulling.delete(pause);
      either.release();
    }
  }

  async #pull(phase: Phase, model: string, endMs: number, pause: Pause, signal: AbortSignal): Promise<Message | null> {
    while (!signal.aborted) {
      const nowMs = this.#clock.monotonicMs();
      const message = this.#next(phase, model, nowMs, LANES);
      if (message !== null || nowMs >= endMs) return message;
      await pause.wait(this.#clock, Math.min(endMs, this.#nextDueMs(phase, model)) - nowMs, signal);
    }
    return null;
  }

  async poll(phase: Phase, model: string, lane: Lane): Promise<Message | null> {
    return this.#next(phase, model, this.#clock.monotonicMs(), [lane]);
  }

  async messages(phase: Phase): Promise<readonly Waiting[]> {
    return this.#linesOf(phase).flatMap(({ model, lane, messages }) =>
      [...messages].map(({ item: { jobId, promptTokens, outputTokens = 0, owner = "" } }) => ({
        jobId,
        model,
        lane,
        promptTokens,
        outputTokens,
        owner,
      })),
    );
  }

  async withdraw(phase: Phase, jobId: string): Promise<void> {
    for (const { messages } of this.#linesOf(phase)) {
      for (const message of messages) if (message.item.jobId === jobId) messages.delete(message);
    }
  }

  async renew(phase: Phase, model: string, lane: Lane): Promise<boolean> {
    if (this.#pulling.size === 0) return false;
    for (const message of this.#line(phase, model, lane)) message.dueMs = 0;
    this.#wake();
    return true;
  }

  #linesOf(phase: Phase): Line[] {
    return [...this.#lines.values()].filter((line) => line.phase === phase);
  }

  #line(phase: Phase, model: string, lane: Lane): Set<Kept> {
    const name = `${phase} ${lane} ${model}`;
    const line = this.#lines.get(name) ?? { phase, model, lane, messages: new Set() };
    this.#lines.set(name, line);
    return line.messages;
  }

  #isRepeated(id: string): boolean {
    const nowMs = this.#clock.monotonicMs();
    for (const [old, publishedMs] of this.#published) {
      if (nowMs - publishedMs < this.#bounds.dedupeMs) break;
      this.#published.delete(old);
    }
    return this.#published.has(id);
  }

  #next(phase: Phase, model: string, nowMs: number, of: readonly Lane[]): Message | null {
    for (const lane of of) {
      const line = this.#line(phase, model, lane);
      for (const waiting of line) if (waiting.dueMs <= nowMs) return this.#deliver(phase, lane, line, waiting, nowMs);
    }
    return null;
  }

  #nextDueMs(phase: Phase, model: string): number {
    let dueMs = Number.POSITIVE_INFINITY;
    for (const lane of LANES) for (const waiting of this.#line(phase, model, lane)) dueMs = Math.min(dueMs, waiting.dueMs);
    return dueMs;
  }

  /** As in JetStream nothing is fenced: a worker that was given the message once can still touch it. */
  #deliver(phase: Phase, lane: Lane, line: Set<Kept>, waiting: Kept, nowMs: number): Message {
    waiting.deliveries++;
    waiting.dueMs = nowMs + this.#bounds.ackWaitMs;
    const postpone = (ms: number) => {
      waiting.dueMs = this.#clock.monotonicMs() + ms;
      this.#wake();
    };
    return {
      item: waiting.item,
      phase,
      lane,
      deliveries: waiting.deliveries,
      working: () => postpone(this.#bounds.ackWaitMs),
      ack: () => void line.delete(waiting),
      nak: (delayMs) => postpone(delayMs),
    };
  }

  #wake(): void {
    for (const pause of this.#pulling) pause.end();
  }
}
