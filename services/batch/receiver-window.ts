/** Ends told at once: the most, the first number, and the fewest, even if the receiver does not answer at all. */
const MOST = 128;
const FIRST = 16;
const LEAST = 4;

/**
 * How many ends the receiver is told at once: one more for each answered in time while the window is full, one less for
 * each answered late or turned away. So a receiver that takes long for each end gets many at once, and one that handles
 * them one by one gets no more than it can answer in time.
 */
export class ReceiverWindow {
  #size = FIRST;

  get size(): number {
    return this.#size;
  }

  /** `underWay`: ends being told, this one included. */
  tried(keepsUp: boolean, underWay: number): void {
    if (!keepsUp) this.#size = Math.max(LEAST, this.#size - 1);
    else if (underWay >= this.#size) this.#size = Math.min(MOST, this.#size + 1);
  }
}
