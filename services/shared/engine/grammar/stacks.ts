import { refusedAt } from "./schema-forms.ts";

/** A state of a rule, and where to go on behind it. One object for all that are the same. */
export interface Stack {
  readonly id: number;
  readonly state: number;
  /** Of a text: characters that are complete. */
  readonly count: number;
  readonly below: Below;
}

/** Where a rule that ends here is gone on behind: several that wait for the same rule from the same byte on are one. */
export interface Below {
  readonly stacks: readonly Stack[];
  /** Nothing else need come. */
  readonly isEnd: boolean;
  /** Rules inside one another. */
  readonly depth: number;
}

/** Where bytes lead: all ways to read them. */
export interface Stacks {
  /** Only those that a byte leads on from. */
  readonly stacks: readonly Stack[];
  /** Nothing else need come. */
  readonly ended: boolean;
}

export const END: Below = { stacks: [], isEnd: true, depth: 0 };

/** An answer holds what is below it: of the least schemas that is some thousand lists or objects inside one another. */
const DEPTH_MAX = 4_000;

const COUNTS = 16_384;
/** Of counts that are no counts. */
const OFFSET = 2;

/** Makes stacks, each once. */
export class StackPool {
  #stacks = new Map<Below, Map<number, Stack>>();
  #belows = new Map<string, Below>();
  #lastId = 0;

  /** How many were made. */
  get made(): number {
    return this.#lastId;
  }

  /** Those that are in use stay as they are. */
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
    if (depth > DEPTH_MAX) throw refusedAt("", "leaves an answer whose values are nested deeper than is supported");
    const made = { stacks: sorted, isEnd, depth };
    this.#belows.set(key, made);
    return made;
  }
}

export const byId = (a: Stack, b: Stack): number => a.id - b.id;

export const keyOf = (stacks: readonly Stack[], ended: boolean): string => `${ended ? "." : ""}${stacks.map(({ id }) => id).join()}`;
