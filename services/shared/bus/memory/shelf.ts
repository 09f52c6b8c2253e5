import type { Clock } from "../../runtime/clock.ts";

/** What lies on a shelf. */
export interface Kept<T> {
  readonly value: T;
  /** Grows with whatever is put there; used once. */
  readonly place: number;
  readonly bytes: number;
  /** Since when: by the wall clock, and by the one that its life is counted by. */
  readonly keptMs: number;
  readonly sinceMs: number;
}

/** Values of one life time, oldest first. They live and die with the process. */
export class Shelf<T> {
  readonly #lifeMs: number;
  readonly #clock: Clock;
  readonly #kept = new Map<string, Kept<T>>();
  #bytes = 0;
  #places = 0;

  constructor(lifeMs: number, clock: Clock) {
    this.#lifeMs = lifeMs;
    this.#clock = clock;
  }

  /** The highest place there ever was. */
  get end(): number {
    return this.#places;
  }

  /** Of all together. */
  get bytes(): number {
    this.#forget();
    return this.#bytes;
  }

  /** Behind all others, also where the key had a value. Its place. */
  put(key: string, value: T, bytes = 0): number {
    this.#forget();
    this.delete(key);
    this.#bytes += bytes;
    this.#kept.set(key, { value, place: ++this.#places, bytes, keptMs: this.#clock.nowMs(), sinceMs: this.#clock.monotonicMs() });
    return this.#places;
  }

  get(key: string): Kept<T> | null {
    this.#forget();
    return this.#kept.get(key) ?? null;
  }

  delete(key: string): void {
    this.#bytes -= this.#kept.get(key)?.bytes ?? 0;
    this.#kept.delete(key);
  }

  entries(): Iterable<readonly [string, Kept<T>]> {
    this.#forget();
    return this.#kept;
  }

  #forget(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const [key, { sinceMs }] of this.#kept) {
      if (nowMs - sinceMs < this.#lifeMs) break;
      this.delete(key);
    }
  }
}
