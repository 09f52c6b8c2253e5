import type { Automaton } from "./automaton.ts";
import type { Lengths } from "./lengths.ts";

/** A count of characters that no longer matters: neither bound can be met by what is counted. */
export const ENOUGH = -1;
/** A count so far below the least that no token reaches it. */
export const TOO_FEW = -2;

/** Strings that an automaton takes, of so many characters. These are counted beside it: a state for each count would be as many states. */
export class Text {
  readonly automaton: Automaton;
  readonly #least: number;
  readonly #most: number;
  /** The largest count at which it matters. */
  readonly #bound: number;
  readonly #words: number;
  /** For each count, those states from which an end is reached within the bounds: a bit each. */
  readonly #live: Uint32Array;

  constructor(automaton: Automaton, { least, most }: Lengths) {
    this.automaton = automaton;
    this.#least = least;
    this.#most = most;
    this.#bound = Number.isFinite(most) ? most : least;
    this.#words = Math.ceil(automaton.length / 32);
    this.#live = new Uint32Array(this.#words * (this.#bound + 1));
    for (let count = this.#bound; count >= 0; count--) this.#fill(count);
  }

  get isMeetable(): boolean {
    return this.leads([0], 0);
  }

  /** Behind one character more. */
  after(count: number): number {
    if (count < 0) return count;
    return count + 1 >= this.#least && this.#most === Number.POSITIVE_INFINITY ? ENOUGH : count + 1;
  }

  /** Whether one of these states can still be ended from, once so many characters are there. */
  leads(states: readonly number[], count: number): boolean {
    if (count < 0) return true;
    if (count > this.#bound) return this.#most === Number.POSITIVE_INFINITY;
    return states.some((state) => (this.#live[count * this.#words + (state >> 5)]! & (1 << (state & 31))) !== 0);
  }

  /** Whether a string may have so many. */
  mayEnd(count: number): boolean {
    return count === ENOUGH || (count >= this.#least && count <= this.#most);
  }

  /** The same for all counts that no `longest` characters more tell apart. */
  blurred(count: number, longest: number): number {
    if (count < 0) return count;
    if (count >= this.#least && this.#most - count > longest + this.automaton.length) return ENOUGH;
    return this.#hasOneState && this.#least - count > longest + 1 ? TOO_FEW : count;
  }

  get #hasOneState(): boolean {
    return this.automaton.length === 1;
  }

  #fill(count: number): void {
    const isLast = count === this.#bound;
    for (const [state, { accepts, steps }] of this.automaton.entries()) {
      const isLive = isLast
        ? accepts || this.#most === Number.POSITIVE_INFINITY
        : (accepts && count >= this.#least) || steps.some(({ to }) => this.leads([to], count + 1));
      if (isLive) this.#live[count * this.#words + (state >> 5)]! |= 1 << (state & 31);
    }
  }
}
