/** Prompts by their size, in powers of two. */
export class Prompts {
  readonly #counts = new Array<number>(33).fill(0);
  readonly #tokens = new Array<number>(33).fill(0);

  /** A job without a prompt to compute is none of them. `times` -1 takes it out again. */
  add(tokens: number, times: 1 | -1 = 1): void {
    if (tokens === 0) return;
    const size = 32 - Math.clz32(tokens);
    this.#counts[size]! += times;
    this.#tokens[size]! += times * tokens;
  }

  get count(): number {
    return this.#counts.reduce((sum, count) => sum + count);
  }

  /** Of each prompt `most` of its tokens, or all it has: at least that, and at most twice as much. */
  tokens(most = Number.POSITIVE_INFINITY): number {
    return this.#tokens.reduce((sum, tokens, size) => sum + (tokens === 0 ? 0 : Math.min(tokens, this.#counts[size]! * most)), 0);
  }
}
