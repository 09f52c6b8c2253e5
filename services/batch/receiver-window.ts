/** Ends told at once: the most, the first number, and the fewest, even if the receiver does not answer at all. */
const MOST = 128;
const FIRST = 16;
const LEAST = 4;

/** How the receiver took an end: well in time, in time but slowly, or not in time or turned away for being too many. */
export type Pace = "good" | "slow" | "late";

/**
 * How many ends the receiver is told at once: one more for each answered well in time while the window is full, one less
 * for each that came late. So a receiver that takes long for each end gets many at once, and one that handles them one
 * by one gets no more than it can answer in time.
 */
export class ReceiverWindow {
  #size = FIRST;

  get size(): number {
    return this.#size;
  }

  /** `underWay`: ends being told, this one included. */
  tried(pace: Pace, underWay: number): void {
    if (pace === "late") this.#size = Math.max(LEAST, this.#size - 1);
    else if (pace === "good" && underWay >= this.#size) this.#size = Math.min(MOST, this.#size + 1);
  }
}
