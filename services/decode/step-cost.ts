/** The part of its weight that a measured mean keeps with each step. */
const KEPT = 1 - 1 / 128;
/** The most steps a mean stands for; later ones count more. */
const WEIGHT_MAX = 32;
/**
 * Weight of a guess, in measured steps: a number of tokens that had one unlucky step is tried again soon, one that is
 * well known after some 500 steps.
 */
const DOUBT = 0.5;
/**
 * A step that took more than this many times the expected waited for something else: it counts as this many times. One that took this many times less
 * shows that the steps before it waited, as the first do for weights that are still on disk: what they told is forgotten.
 */
const LONG = 4;

/**
 * The time of a step by its number of tokens, in any unit, learnt from earlier steps as their caller saw them. Each
 * number is learnt by itself, since one more token may cost much and the next nothing. A number that was never measured,
 * or long ago, is guessed as low as it can be if more tokens take no less time in all and no more for each. A low guess
 * gets it tried, which is the only way to learn, and a try in some hundred steps costs little.
 */
export class StepCost {
  /** Both indexed by the number of tokens. */
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
    const shares = [0]; // the part of the time of more tokens, as if each cost the same
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
