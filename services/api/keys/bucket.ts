/**
 * A bucket that holds what a minute may take and fills again within a minute. A request that is larger than the bucket gets in when it is full,
 * and those after it wait until it is paid for.
 */
export class Bucket {
  readonly limit: number;
  #level: number;
  #atMs: number;

  constructor(limit: number, nowMs: number) {
    this.limit = limit;
    this.#level = limit;
    this.#atMs = nowMs;
  }

  /** What is in it; below 0 while something is paid for. */
  level(nowMs: number): number {
    this.#level = Math.min(this.limit, this.#level + ((nowMs - this.#atMs) * this.limit) / 60_000);
    this.#atMs = nowMs;
    return this.#level;
  }

  take(amount: number, nowMs: number): void {
    this.#level = this.level(nowMs) - amount;
  }

  /** Takes no more than is in it. */
  takeAtMost(amount: number, nowMs: number): void {
    this.take(Math.min(amount, Math.max(0, this.level(nowMs))), nowMs);
  }

  /** Seconds until `amount` may be taken; 0: now. */
  secondsUntil(amount: number, nowMs: number): number {
    if (amount === 0) return 0; // also while something larger than the bucket is being paid for
    return (Math.max(0, Math.min(amount, this.limit) - this.level(nowMs)) * 60) / this.limit;
  }

  secondsUntilFull(nowMs: number): number {
    return this.secondsUntil(this.limit, nowMs);
  }
}
