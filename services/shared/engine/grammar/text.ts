import type { Automaton } from "./automaton.ts";
import type { Lengths } from "./lengths.ts";

/** A count that no longer matters: what is counted can reach neither bound. */
export const ENOUGH = -1;
/** A count so far below the least that no token reaches it. */
export const TOO_FEW = -2;

/**
 * Strings of bounded length that an automaton accepts. Characters are counted beside the automaton: a state for each
 * count would multiply its states.
 */
export class Text {
  readonly automaton: Automaton;
  readonly #least: number;
  readonly #most: number;
  /** The largest count that matters. */
  readonly #bound: number;
  readonly #words: number;
  /** For each count, the states from which an end is reached within the bounds, a bit each. */
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

  /** The count after one more character. */
  after(count: number): number {
    if (count < 0) return count;
    return count + 1 >= this.#least && this.#most === Number.POSITIVE_INFINITY ? ENOUGH : count + 1;
  }

  /** Whether an end can still be reached from one of these states after `count` characters. */
  leads(states: readonly number[], count: number): boolean {
    if (count < 0) return true;
    if (count > this.#bound) return this.#most === Number.POSITIVE_INFINITY;
    return states.some((state) => (this.#live[count * this.#words + (state >> 5)]! & (1 << (state & 31))) !== 0);
  }

  /** Whether a string may have `count` characters. */
  mayEnd(count: number): boolean {
    return count === ENOUGH || (count >= this.#least && count <= this.#most);
  }

  /** Maps counts that `longest` more characters cannot tell apart to one value. */
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
