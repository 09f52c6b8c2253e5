/** Prompts by their size, in powers of two. */
export class Prompts {
  readonly #counts = new Array<number>(33).fill(0);
  readonly #tokens = new Array<number>(33).fill(0);

  add(tokens: number): void {
    const size = 32 - Math.clz32(tokens);
    this.#counts[size]! += 1;
    this.#tokens[size]! += tokens;
  }

  /** All their tokens; of each prompt no more than `most`, or a little: up to twice as much in all. */
  tokens(most = Number.POSITIVE_INFINITY): number {
    return this.#tokens.reduce((sum, tokens, size) => sum + (tokens === 0 ? 0 : Math.min(tokens, this.#counts[size]! * most)), 0);
  }
}
