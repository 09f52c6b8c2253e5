import type { Cost } from "./cost.ts";
import type { Network } from "./network.ts";
import { type Below, byId, type Stack, type StackPool, type Stacks } from "./stacks.ts";

/** A rule that begins at this place, shared by all who call it here. */
class Begun {
  /**
   * Where the callers go on: a state of theirs, and what is below it.
   * `back` null: the caller has nothing left, so what is below it comes next.
   */
  readonly callers: Array<{ readonly back: number | null; readonly below: Below | Begun }> = [];
  readonly #backs = new Map<Below | Begun, Set<number | null>>();
  /** The rule may end without a byte. */
  ended = false;

  /** Returns whether the caller is new. */
  add(back: number | null, below: Below | Begun): boolean {
    const backs = this.#backs.get(below) ?? new Set();
    if (backs.has(back)) return false;
    this.#backs.set(below, backs.add(back));
    this.callers.push({ back, below });
    return true;
  }
}

/**
 * Adds everything reached from the stacks without a byte. No JSON rule begins with itself, unless that is all of it.
 */
export const closed = ({ states }: Network, pool: StackPool, cost: Cost, reached: readonly Stack[]): Stacks =>
  new Closing(states, pool, cost).all(reached);

class Closing {
  readonly #states: Network["states"];
  readonly #pool: StackPool;
  readonly #cost: Cost;
  readonly #begun = new Map<number, Begun>();
  readonly #seen = new Map<Below | Begun, Set<number>>();
  readonly #waiting: Array<{ readonly state: number; readonly below: Below | Begun }> = [];
  /** States of begun rules from which a byte leads on. */
  readonly #open: Array<{ readonly state: number; readonly begun: Begun }> = [];
  readonly #stacks = new Set<Stack>();
  readonly #belows = new Map<Begun, Below>();
  #ended = false;

  constructor(states: Network["states"], pool: StackPool, cost: Cost) {
    this.#states = states;
    this.#pool = pool;
    this.#cost = cost;
  }

  all(reached: readonly Stack[]): Stacks {
    for (const stack of reached) this.#reach(stack);
    for (let next = this.#waiting.pop(); next !== undefined; next = this.#waiting.pop()) this.#leave(next.state, next.below);
    for (const { state, begun } of this.#open) this.#stacks.add(this.#pool.stack(state, 0, this.#belowOf(begun)));
    return { stacks: [...this.#stacks].sort(byId), ended: this.#ended };
  }

  #reach(stack: Stack): void {
    const { state, below } = stack;
    if (this.#states[state]!.moves.length > 0) this.#stacks.add(stack);
    this.#wait(state, below);
  }

  #wait(state: number, below: Below | Begun): void {
    const seen = this.#seen.get(below) ?? new Set<number>();
    if (seen.size === 0) this.#seen.set(below, seen);
    if (seen.has(state)) return;
    seen.add(state);
    this.#waiting.push({ state, below });
    if (below instanceof Begun && this.#states[state]!.moves.length > 0) this.#open.push({ state, begun: below });
  }

  #leave(state: number, below: Below | Begun): void {
    const { free, calls, ends } = this.#states[state]!;
    this.#cost.add(1 + free.length + calls.length);
    for (const to of free) this.#go(to, below);
    for (const { start, back, isLast } of calls) this.#call(start, isLast ? null : back, below);
    if (ends) this.#end(below);
  }

  #go(to: number, below: Below | Begun): void {
    if (below instanceof Begun) this.#wait(to, below);
    else this.#reach(this.#pool.stack(to, 0, below));
  }

  #call(start: number, back: number | null, below: Below | Begun): void {
    const begun = this.#begun.get(start) ?? new Begun();
    if (!begun.add(back, below)) return;
    this.#begun.set(start, begun);
    this.#wait(start, begun);
    if (begun.ended) this.#goOn(back, below);
  }

  #end(below: Below | Begun): void {
    if (!(below instanceof Begun)) {
      this.#ended ||= below.isEnd;
      this.#cost.add(below.stacks.length);
      for (const stack of below.stacks) this.#reach(stack);
    } else if (!below.ended) {
      below.ended = true;
      this.#cost.add(below.callers.length);
      for (const caller of below.callers) this.#goOn(caller.back, caller.below);
    }
  }

  #goOn(back: number | null, below: Below | Begun): void {
    if (back === null) this.#end(below);
    else this.#go(back, below);
  }

  #belowOf(begun: Begun): Below {
    const known = this.#belows.get(begun);
    if (known !== undefined) return known;
    const below = this.#ofOnlyCaller(begun) ?? this.#collected(begun);
    this.#belows.set(begun, below);
    return below;
  }

  /**
   * Many optional properties are a chain of rules, each with one caller that has nothing left. Collecting the callers
   * for each through all rules before it would take quadratic time.
   */
  #ofOnlyCaller({ callers: [caller, ...others] }: Begun): Below | null {
    if (caller === undefined || caller.back !== null || others.length > 0) return null;
    return caller.below instanceof Begun ? this.#belowOf(caller.below) : caller.below;
  }

  #collected(begun: Begun): Below {
    const stacks = new Set<Stack>();
    const isEnd = this.#collect(begun, stacks, new Set());
    return this.#pool.below(stacks, isEnd);
  }

  /**
   * Collects where all callers of a rule go on, also through callers that have nothing left.
   * Returns whether nothing else need come.
   */
  #collect(begun: Begun, stacks: Set<Stack>, seen: Set<Begun>): boolean {
    if (seen.has(begun)) return false;
    seen.add(begun);
    this.#cost.add(begun.callers.length);
    let isEnd = false;
    for (const { back, below } of begun.callers) {
      if (back !== null) stacks.add(this.#pool.stack(back, 0, below instanceof Begun ? this.#belowOf(below) : below));
      else if (below instanceof Begun) isEnd = this.#collect(below, stacks, seen) || isEnd;
      else {
        isEnd ||= below.isEnd;
        this.#cost.add(below.stacks.length);
        for (const stack of below.stacks) stacks.add(stack);
      }
    }
    return isEnd;
  }
}
