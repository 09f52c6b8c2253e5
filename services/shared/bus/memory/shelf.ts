import type { Clock } from "../../runtime/clock.ts";

/** A value on a shelf. */
export interface Kept<T> {
  readonly value: T;
  /** Grows with every put; used once. */
  readonly place: number;
  readonly bytes: number;
  /** When it was put there: by the wall clock, and by the monotonic clock, which counts its life. */
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

  /** Bytes of all values together. */
  get bytes(): number {
    this.#forget();
    return this.#bytes;
  }

  /** Puts the value behind all others, in place of one with the same key. Returns its place. */
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
