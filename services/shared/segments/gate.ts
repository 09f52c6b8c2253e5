import { RedisFailure } from "./redis/failure.ts";

/**
 * Admits at most `openMax()` operations at once, in order of arrival; at most `waitingMax` may wait. If `openMax()`
 * falls, those inside stay.
 */
export class Gate {
  readonly #openMax: () => number;
  readonly #waitingMax: number;
  readonly #waiting: (() => void)[] = [];
  #open = 0;
  #onEmpty = () => {};

  constructor(openMax: () => number, waitingMax: number) {
    this.#openMax = openMax;
    this.#waitingMax = waitingMax;
  }

  /** Runs `work` when there is room. Rejects with RedisFailure if too many wait already. */
  async pass<T>(work: () => Promise<T>): Promise<T> {
    if (this.#waiting.length === 0 && this.#open < this.#openMax()) this.#open++;
    else await this.#turn();
    try {
      return await work();
    } finally {
      this.#open--;
      this.#letIn();
    }
  }

  /** Resolves once no operation is inside or waits. For one caller. */
  empty(): Promise<void> {
    return new Promise((resolve) => {
      this.#onEmpty = resolve;
      this.#letIn();
    });
  }

  #turn(): Promise<void> {
    if (this.#waiting.length >= this.#waitingMax)
      throw new RedisFailure("queue", `${this.#waitingMax} operations wait for the store already`);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** An operation that leaves admits the next; if `openMax()` has grown, as many as it allows. */
  #letIn(): void {
    const room = Math.max(0, this.#openMax() - this.#open);
    for (const next of this.#waiting.splice(0, room)) {
      this.#open++;
      next();
    }
    if (this.#open === 0) this.#onEmpty();
  }
}
