import { RedisFailure } from "./redis-failure.ts";

/** Lets at most `openMax` through at once, in the order they came; at most `waitingMax` may wait. */
export class Gate {
  readonly #openMax: number;
  readonly #waitingMax: number;
  readonly #waiting: (() => void)[] = [];
  #open = 0;

  constructor(openMax: number, waitingMax: number) {
    this.#openMax = openMax;
    this.#waitingMax = waitingMax;
  }

  /** Runs `work` when there is room. Rejects with RedisFailure if too many wait already. */
  async pass<T>(work: () => Promise<T>): Promise<T> {
    if (this.#open < this.#openMax) this.#open++;
    else await this.#turn();
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#open--;
      else next();
    }
  }

  #turn(): Promise<void> {
    if (this.#waiting.length >= this.#waitingMax)
      throw new RedisFailure("queue", `${this.#waitingMax} operations wait for the store already`);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}
