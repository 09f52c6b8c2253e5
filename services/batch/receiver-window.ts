/** Ends that are told at once: never more, to begin with, and also where the receiver does not answer at all. */
const MOST = 128;
const FIRST = 16;
const LEAST = 4;

/**
 * How many ends the receiver is told at once: one more for each that it answers in good time while there are as many, one less for each that it is late
 * with or turns away. So one that takes its time for each is told many at once, and one that takes them one by one no more than it gets done in time.
 */
export class ReceiverWindow {
  #size = FIRST;

  get size(): number {
    return this.#size;
  }

  /** `underWay`: of how many the end was one. */
  tried(keepsUp: boolean, underWay: number): void {
    if (!keepsUp) this.#size = Math.max(LEAST, this.#size - 1);
    else if (underWay >= this.#size) this.#size = Math.min(MOST, this.#size + 1);
  }
}
