import { refusedAt } from "./schema-forms.ts";

/** A state of a rule, and where to go on after it. Equal stacks are one object. */
export interface Stack {
  readonly id: number;
  readonly state: number;
  /** In a text: the characters that are complete. */
  readonly count: number;
  readonly below: Below;
}

/**
 * Where to go on after the rule that ends here. Callers that wait for the same rule from the same byte on share one.
 */
export interface Below {
  readonly stacks: readonly Stack[];
  /** Nothing else need come. */
  readonly isEnd: boolean;
  /** Nesting depth of rules. */
  readonly depth: number;
}

/** Where bytes lead: all ways to read them. */
export interface Stacks {
  /** Only stacks from which a byte leads on. */
  readonly stacks: readonly Stack[];
  /** Nothing else need come. */
  readonly ended: boolean;
}

export const END: Below = { stacks: [], isEnd: true, depth: 0 };

/**
 * An answer holds all that is below it. With the smallest schemas this depth is some thousand nested lists or objects.
 */
const DEPTH_MAX = 4_000;

const COUNTS = 16_384;
/** Makes room for the negative counts, ENOUGH and TOO_FEW. */
const OFFSET = 2;

/** Makes each stack once. */
export class StackPool {
  #stacks = new Map<Below, Map<number, Stack>>();
  #belows = new Map<string, Below>();
  #lastId = 0;

  /** Stacks made so far. */
  get made(): number {
    return this.#lastId;
  }

  /** Stacks in use stay valid. */
  forget(): void {
    this.#stacks = new Map();
    this.#belows = new Map();
  }

  stack(state: number, count: number, below: Below): Stack {
    const those = this.#stacks.get(below) ?? new Map<number, Stack>();
    if (those.size === 0) this.#stacks.set(below, those);
    const key = state * COUNTS + count + OFFSET;
    const known = those.get(key);
    if (known !== undefined) return known;
    const stack = { id: ++this.#lastId, state, count, below };
    those.set(key, stack);
    return stack;
  }

  below(stacks: ReadonlySet<Stack>, isEnd: boolean): Below {
    if (stacks.size === 0) return END;
    const sorted = [...stacks].sort(byId);
    const key = keyOf(sorted, isEnd);
    const known = this.#belows.get(key);
    if (known !== undefined) return known;
    const depth = sorted.reduce((most, { below }) => Math.max(most, below.depth), 0) + 1;
    if (depth > DEPTH_MAX)
      throw refusedAt(
        "",
        `leaves an answer whose values are nested deeper than ${DEPTH_MAX} levels: write out those that are needed in place of a $ref to itself, and give a type to what has none`,
      );
    const made = { stacks: sorted, isEnd, depth };
    this.#belows.set(key, made);
    return made;
  }
}

export const byId = (a: Stack, b: Stack): number => a.id - b.id;

export const keyOf = (stacks: readonly Stack[], ended: boolean): string => `${ended ? "." : ""}${stacks.map(({ id }) => id).join()}`;
