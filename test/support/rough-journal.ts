import type { Appended, Entry, Journal } from "../../services/shared/bus/journal.ts";
import type { Clock } from "../../services/shared/runtime/clock.ts";
import { ServingError } from "../../services/shared/runtime/errors.ts";
import type { Random } from "../../services/shared/runtime/random.ts";

/** A journal as a bad day shows it: everything takes its time, requests and answers get lost, replicas lag, announcements are no promise. */
export class RoughJournal implements Journal {
  readonly #inner: Journal;
  readonly #clock: Clock;
  readonly #random: Random;

  constructor(inner: Journal, clock: Clock, random: Random) {
    this.#inner = inner;
    this.#clock = clock;
    this.#random = random;
  }

  async append(jobId: string, bytes: Uint8Array, after: number, id: string): Promise<Appended> {
    await this.#delay();
    if (this.#chance(0.1)) return { kind: "unknown", cause: new Error("the request was lost") };
    const outcome = await this.#inner.append(jobId, bytes, after, id);
    await this.#delay();
    return this.#chance(0.15) ? { kind: "unknown", cause: new Error("the answer was lost") } : outcome;
  }

  async first(jobId: string): Promise<Entry | null> {
    await this.#answer();
    return this.#inner.first(jobId);
  }

  async *lasts(): AsyncGenerator<Entry & { readonly jobId: string }> {
    await this.#answer();
    yield* this.#inner.lasts();
  }

  async last(jobId: string): Promise<Entry | null> {
    await this.#answer();
    return this.#inner.last(jobId);
  }

  async glance(jobId: string): Promise<Entry | null> {
    await this.#answer();
    const entries = await this.#inner.page(jobId, 0, Number.POSITIVE_INFINITY);
    return entries[Math.max(0, entries.length - 1 - (this.#random.u32() % 3))] ?? null;
  }

  async page(jobId: string, after: number, max: number): Promise<readonly Entry[]> {
    await this.#answer();
    const entries = await this.#inner.page(jobId, after, max);
    return entries.slice(0, Math.max(0, entries.length - (this.#random.u32() % 3)));
  }

  async purge(jobId: string): Promise<void> {
    await this.#answer();
    return this.#inner.purge(jobId);
  }

  nowMs(): Promise<number> {
    return this.#inner.nowMs();
  }

  fill(): Promise<number> {
    return this.#inner.fill();
  }

  announce(jobId: string, bytes: Uint8Array): void {
    for (let copies = this.#chance(0.3) ? 0 : this.#chance(0.1) ? 2 : 1; copies > 0; copies--) {
      void this.#delay().then(() => this.#inner.announce(jobId, bytes));
    }
  }

  listen(jobId: string, callback: (bytes: Uint8Array | null) => void): () => void {
    return this.#inner.listen(jobId, (bytes) => callback(this.#chance(0.02) ? null : bytes));
  }

  #chance(probability: number): boolean {
    return this.#random.u32() < probability * 2 ** 32;
  }

  #delay(): Promise<void> {
    return this.#clock.sleep(this.#random.u32() % 50);
  }

  async #answer(): Promise<void> {
    await this.#delay();
    if (this.#chance(0.1)) throw new ServingError("UNAVAILABLE", "the journal did not answer");
  }
}
