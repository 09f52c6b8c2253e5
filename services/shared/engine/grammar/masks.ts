import type { Kept } from "./kept.ts";
import type { Network } from "./network.ts";
import { NOWHERE, Points } from "./points.ts";
import { Reader } from "./reader.ts";
import { type Below, byId, END, type Stack, type Stacks } from "./stacks.ts";
import type { Trie } from "./trie.ts";

const STACK_BYTES = 160;

/** What tokens do above the stack below. */
interface Inner {
  /** Those that come no further than to the end of what is above. */
  readonly mask: Uint32Array;
  /** Nodes at which it may end: longer tokens go on below. */
  readonly exits: readonly number[];
}

/**
 * Which tokens may follow, of a vocabulary. They are looked at when somebody asks: a grammar costs what is met of it. Most of a mask hangs on what
 * is uppermost (all that may stand in a string), and little on where one gets to behind: so what is above has its own, whatever is below.
 */
export class Masks {
  readonly reader: Reader;
  readonly #network: Network;
  readonly #tries: readonly Trie[];
  readonly #kept: Kept;
  readonly #words: number;
  #points: Points;
  /** By trie and point. */
  #inner: ReadonlyMap<Trie, Map<number, Inner>>;
  #turn: number;
  #stacksMade = 0;

  constructor(network: Network, tries: readonly Trie[], vocabSize: number, kept: Kept) {
    this.reader = new Reader(network);
    this.#network = network;
    this.#tries = tries;
    this.#kept = kept;
    this.#words = Math.ceil(vocabSize / 32);
    this.#turn = kept.turn;
    [this.#points, this.#inner] = this.#nothing();
  }

  /** States of its network. */
  get size(): number {
    return this.#network.states.length;
  }

  /** Tokens that may follow where an answer stands, without those that end it. */
  after({ stacks }: Stacks): Uint32Array<ArrayBuffer> {
    this.#forgetInTurn();
    const mask = new Uint32Array(this.#words);
    for (const [below, above] of byBelow(stacks)) {
      const behind = this.#points.of(this.reader.behind(below));
      for (const trie of this.#tries) {
        const inner = this.#innerOf(above, trie);
        for (let word = 0; word < mask.length; word++) mask[word]! |= inner.mask[word]!;
        for (const exit of inner.exits) this.#walk(trie, exit + 1, trie.ends[exit]!, behind, mask, null);
      }
    }
    this.#kept.add((this.reader.pool.made - this.#stacksMade) * STACK_BYTES);
    this.#stacksMade = this.reader.pool.made;
    return mask;
  }

  #forgetInTurn(): void {
    if (this.#turn === this.#kept.turn) return;
    this.#turn = this.#kept.turn;
    [this.#points, this.#inner] = this.#nothing();
    this.reader.pool.forget();
  }

  #nothing(): [Points, ReadonlyMap<Trie, Map<number, Inner>>] {
    const longest = Math.max(...this.#tries.map(({ longest }) => longest));
    return [new Points(this.reader, this.#kept, longest), new Map(this.#tries.map((trie) => [trie, new Map()]))];
  }

  #innerOf(above: readonly Stack[], trie: Trie): Inner {
    const { states } = this.#network;
    const alone = above.map(({ state, count }) =>
      this.reader.pool.stack(state, states[state]!.text?.blurred(count, trie.longest) ?? 0, END),
    );
    const point = this.#points.of({ stacks: [...new Set(alone)].sort(byId), ended: false });
    const known = this.#inner.get(trie)!.get(point) ?? this.#madeInner(trie, point);
    this.#inner.get(trie)!.set(point, known);
    return known;
  }

  #madeInner(trie: Trie, point: number): Inner {
    const mask = new Uint32Array(this.#words);
    const exits: number[] = [];
    this.#walk(trie, 0, trie.size, point, mask, exits);
    this.#kept.add(mask.byteLength + 8 * exits.length);
    return { mask, exits };
  }

  /** Through nodes `from` to `end`, which begin at `point`: allows what leads somewhere. `exits`: gets those where it may end. */
  #walk(trie: Trie, from: number, end: number, point: number, mask: Uint32Array, exits: number[] | null): void {
    const { bytes, depths, ends } = trie;
    const points = this.#points;
    const path: number[] = [point];
    const top = from < end ? depths[from]! : 0;
    for (let node = from; node < end; ) {
      const depth = depths[node]! - top;
      const next = points.next(path[depth]!, bytes[node]!, depth + 1);
      if (next === NOWHERE) {
        node = ends[node]!;
        continue;
      }
      trie.allow(node, mask);
      if (exits !== null && points.ends(next)) exits.push(node);
      path[depth + 1] = next;
      node = points.isOver(next) ? ends[node]! : node + 1;
    }
  }
}

function byBelow(stacks: readonly Stack[]): ReadonlyMap<Below, readonly Stack[]> {
  const groups = new Map<Below, Stack[]>();
  for (const stack of stacks) groups.set(stack.below, [...(groups.get(stack.below) ?? []), stack]);
  return groups;
}
