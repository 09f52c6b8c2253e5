/** How much of its weight what was measured keeps with each step. */
const KEPT = 1 - 1 / 128;
/** A mean is one of so many steps at most, the last ones first. */
const WEIGHT_MAX = 32;
/** A guess weighs half of a measured step: one that was unlucky is tried again soon, what is known well after some 500 steps. */
const DOUBT = 0.5;
/**
 * A step that took so many times as long as expected waited for somebody else, and tells no more than that it was long. One that took so many times
 * less shows that those before it waited, as the first do for weights that are still on disk: nothing that they told counts.
 */
const LONG = 4;

/**
 * What a step takes by its tokens, learnt from those before, as their caller saw them, in any unit: each number of tokens by itself, since one more
 * may cost much and the next nothing. What was never measured, or long ago, is guessed as low as it can be where more tokens take no less, and
 * no more for each of them: only who tries learns, and a try in some hundred steps costs little.
 */
export class StepCost {
  /** Both by tokens. */
  readonly #measured = [{ weight: 0, time: 0 }];
  #believed: readonly number[] = [0];

  learn(tokens: number, time: number): void {
    const expected = this.of(tokens);
    while (this.#measured.length <= tokens) this.#measured.push({ weight: 0, time: 0 });
    for (const one of this.#measured) one.weight *= LONG * time < expected ? 0 : KEPT;
    const own = this.#measured[tokens]!;
    own.weight = Math.min(own.weight + 1, WEIGHT_MAX);
    own.time += ((expected === 0 ? time : Math.min(time, LONG * expected)) - own.time) / own.weight;
    this.#believed = this.#believe();
  }

  of(tokens: number): number {
    return this.#believed[Math.min(tokens, this.#believed.length - 1)]!;
  }

  #believe(): number[] {
    const most = this.#measured.length - 1;
    const shares = [0]; // of what more tokens take, as if there were no other cost
    for (let n = most; n > 1; n--) shares[n - 1] = (this.#blended(n, shares[n] ?? 0) * (n - 1)) / n;
    const believed = [0];
    for (let n = 1; n <= most; n++) believed.push(this.#blended(n, Math.max(believed[n - 1]!, shares[n] ?? 0)));
    return believed;
  }

  #blended(tokens: number, guess: number): number {
    const { weight, time } = this.#measured[tokens]!;
    return (weight * time + DOUBT * guess) / (weight + DOUBT);
  }
}
