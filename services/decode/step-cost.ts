/** How much the last step counts: for what a step takes, and for what a token more does, which changes less. */
const RATE = 1 / 32;
const SLOPE_RATE = 1 / 256;
/** A step that took so many times as long as others waited for somebody else, and tells no more than that it was long. */
const LONG = 4;
/** Until steps tell: what all tokens of a step share costs as much as so many of them. Twice what was measured of V4-Flash, since only who tries learns. */
const SHARED_TOKENS = 4;
/** How much steps must differ in their tokens, as a variance, to tell as much as that does. */
const DOUBT = 0.25;

/** What a step takes by its tokens, learnt from those before, the last ones most: a line. As its caller sees it, in any unit. */
export class StepCost {
  #steps = 0;
  #tokens = 1;
  #time = 1;
  #variance = 0;
  #covariance = 0;

  learn(tokens: number, time: number): void {
    const isFirst = ++this.#steps === 1;
    const off = tokens - this.#tokens;
    const late = (isFirst || this.#time === 0 ? time : Math.min(time, LONG * this.#time)) - this.#time;
    this.#tokens += Math.max(RATE, 1 / this.#steps) * off;
    this.#time += Math.max(RATE, 1 / this.#steps) * late;
    if (isFirst) return; // there is nothing to differ from
    const rate = Math.max(SLOPE_RATE, 1 / this.#steps);
    this.#variance += rate * (off * off - this.#variance);
    this.#covariance += rate * (off * late - this.#covariance);
  }

  of(tokens: number): number {
    return Math.max(0, this.#time + (tokens - this.#tokens) * this.more);
  }

  /** Of one more token. Where steps have long been alike nobody knows it any more, and it is tried again. */
  get more(): number {
    const expected = this.#time / (this.#tokens + SHARED_TOKENS);
    const learnt = (this.#covariance + DOUBT * expected) / (this.#variance + DOUBT);
    return Math.min(Math.max(0, learnt), this.#time / this.#tokens);
  }
}
