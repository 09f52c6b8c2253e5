import type { Appended, Entry, Journal } from "../../services/shared/bus/journal.ts";
import { collect } from "./bus.ts";
import type { Road } from "./road.ts";

/** Newest entries that a replica may not have yet. */
const LAG_MAX = 2;
/** Of announcements: instead, the listener is told that some may be missing. */
const INTERRUPTIONS = 0.02;

/**
 * A journal at the end of a road: everything takes its time, requests and answers get lost, replicas lag, announcements
 * are no promise.
 */
export class RoughJournal implements Journal {
  readonly #inner: Journal;
  readonly #road: Road;

  constructor(inner: Journal, road: Road) {
    this.#inner = inner;
    this.#road = road;
  }

  append(jobId: string, bytes: Uint8Array, after: number, id: string): Promise<Appended> {
    return this.#road.try(() => this.#inner.append(jobId, bytes, after, id)).catch((cause) => ({ kind: "unknown", cause }));
  }

  first(jobId: string): Promise<Entry | null> {
    return this.#road.ask(() => this.#inner.first(jobId));
  }

  async *lasts(): AsyncGenerator<Entry & { readonly jobId: string }> {
    yield* await this.#road.ask(() => collect(this.#inner.lasts()));
  }

  last(jobId: string): Promise<Entry | null> {
    return this.#road.ask(() => this.#inner.last(jobId));
  }

  glance(jobId: string): Promise<Entry | null> {
    return this.#road.ask(async () => {
      const entries = await this.#inner.page(jobId, 0, Number.POSITIVE_INFINITY);
      return entries[Math.max(0, entries.length - 1 - this.#lag())] ?? null;
    });
  }

  /** As a replica has it, which lacks the newest entries of the job, not of the page. */
  page(jobId: string, after: number, max: number): Promise<readonly Entry[]> {
    return this.#road.ask(async () => {
      const entries = await this.#inner.page(jobId, 0, Number.POSITIVE_INFINITY);
      const there = entries.slice(0, Math.max(0, entries.length - this.#lag()));
      return there.filter(({ sequence }) => sequence > after).slice(0, max);
    });
  }

  purge(jobId: string): Promise<void> {
    return this.#road.ask(() => this.#inner.purge(jobId));
  }

  nowMs(seenMs?: number): Promise<number> {
    return this.#road.ask(() => this.#inner.nowMs(seenMs));
  }

  fill(): Promise<number> {
    return this.#road.ask(() => this.#inner.fill());
  }

  announce(jobId: string, bytes: Uint8Array, hurry: boolean): void {
    this.#road.tell(() => this.#inner.announce(jobId, bytes, hurry));
  }

  listen(jobId: string, callback: (bytes: Uint8Array | null) => void): () => void {
    let listening = true;
    const leave = this.#inner.listen(jobId, (bytes) => {
      const missed = this.#road.dice.chance(INTERRUPTIONS);
      this.#road.hear(() => listening && callback(missed ? null : bytes));
    });
    return () => {
      listening = false;
      leave();
    };
  }

  #lag(): number {
    return this.#road.dice.whole(0, LAG_MAX);
  }
}
