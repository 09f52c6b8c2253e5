import type { Clock } from "../shared/runtime/clock.ts";
import type { SegmentStore } from "../shared/segments/contract.ts";
import type { Context } from "../shared/worker/context.ts";

/**
 * Tells other jobs which segments this one computes now, so that a shared prefix is computed once. Nothing but time
 * depends on it: a claim that is refused or forgotten halfway only means that two jobs compute the same. The owner is
 * the job, so a worker that takes it over keeps the claims.
 */
export class SegmentClaims {
  readonly #store: SegmentStore;
  readonly #clock: Clock;
  readonly #context: Context;
  readonly #owner: string;
  readonly #claimMs: number;
  /** Segment indices of the previous chunk, perhaps not stored yet, and of this one. */
  #before: readonly number[] = [];
  #now: readonly number[] = [];
  #renewedMs = 0;

  constructor(store: SegmentStore, clock: Clock, context: Context, owner: string, claimMs: number) {
    this.#store = store;
    this.#clock = clock;
    this.#context = context;
    this.#owner = owner;
    this.#claimMs = claimMs;
  }

  /** False while another job computes this segment. */
  async take(index: number): Promise<boolean> {
    if (!(await this.#claim(index))) return false;
    this.#now = [index];
    return true;
  }

  /** Claims the whole segments from `first` to `last`, inclusive. */
  async cover(first: number, last: number): Promise<void> {
    const whole = Math.floor(this.#context.ids.length / this.#context.segmentTokens);
    this.#before = this.#now;
    this.#now = Array.from({ length: Math.max(0, Math.min(last + 1, whole) - first) }, (_, i) => first + i);
    await this.#renewAll();
  }

  /** Called often; acts a few times in the life of a claim, and never waits. */
  renew(): void {
    if (this.#clock.monotonicMs() - this.#renewedMs > this.#claimMs / 3) void this.#renewAll();
  }

  /** Releases the claims, so that others go on at once. Stored segments are found whoever claims them. */
  async end(): Promise<void> {
    const indices = new Set([...this.#before, ...this.#now]);
    await Promise.all([...indices].map((index) => this.#store.unclaim(this.#context.key(index), this.#owner)));
  }

  async #renewAll(): Promise<void> {
    this.#renewedMs = this.#clock.monotonicMs();
    await Promise.all(this.#now.map((index) => this.#claim(index)));
  }

  #claim(index: number): Promise<boolean> {
    return this.#store.claim(this.#context.key(index), this.#owner, this.#claimMs);
  }
}
