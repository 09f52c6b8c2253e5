import { COST_MAX } from "./cost.ts";
import type { Kept } from "./kept.ts";
import type { Network } from "./network.ts";
import { NOWHERE, Points } from "./points.ts";
import { Reader } from "./reader.ts";
import { type Below, byId, END, type Stack, type Stacks } from "./stacks.ts";
import type { Trie } from "./trie.ts";

const STACK_BYTES = 160;
const INNER_BYTES = 400;

/** What tokens do in the topmost rules of the stacks, whatever is below. */
interface Inner {
  /** Tokens that do not go past the end of the topmost rules: indices of the mask's nonzero words, and their bits. */
  readonly words: Uint16Array;
  readonly bits: Uint32Array;
  /** Trie nodes at which the topmost rule may end: longer tokens go on below. */
  readonly exits: readonly number[];
}

/**
 * Which tokens of a vocabulary may follow. Masks are made when asked for, so a grammar costs only what is met of it.
 * Most of a mask depends on the topmost rule (all that may stand in a string), and little on what comes after it: so
 * the topmost rule has a mask of its own, whatever is below.
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
  /** Points reached after the topmost rule ends, by what is below it. */
  readonly #behind = new Map<Below, number>();
  #stacksCounted = 0;

  constructor(network: Network, tries: readonly Trie[], vocabSize: number, kept: Kept) {
    this.reader = new Reader(network);
    this.#network = network;
    this.#tries = tries;
    this.#kept = kept;
    this.#words = Math.ceil(vocabSize / 32);
    this.#turn = kept.turn;
    [this.#points, this.#inner] = this.#nothing();
  }

  /** States of the network. */
  get size(): number {
    return this.#network.states.length;
  }

  /** Begins a token or a mask, which has a cost bound of its own. */
  begin(costMax = COST_MAX): void {
    this.reader.cost.begin(costMax);
    this.#countStacks();
    this.forgetInTurn();
  }

  /** Forgets what this grammar keeps, if all grammars are to. */
  forgetInTurn(): void {
    if (this.#turn === this.#kept.turn) return;
    this.#turn = this.#kept.turn;
    [this.#points, this.#inner] = this.#nothing();
    this.#behind.clear();
    this.reader.pool.forget();
  }

  /** Tokens that may follow these stacks, without those that end the answer. */
  after({ stacks }: Stacks): Uint32Array<ArrayBuffer> {
    this.forgetInTurn();
    const mask = new Uint32Array(this.#words);
    const groups = byBelow(stacks);
    for (const trie of this.#tries) {
      const added = new Set<Inner>();
      for (const [below, above] of groups) {
        const inner = this.#innerOf(above, trie);
        if (!added.has(inner)) addTo(mask, inner);
        added.add(inner);
        for (const exit of inner.exits) this.#walk(trie, exit + 1, trie.ends[exit]!, this.#pointBehind(below), mask, null);
      }
    }
    this.#countStacks();
    return mask;
  }

  #countStacks(): void {
    this.#kept.add((this.reader.pool.made - this.#stacksCounted) * STACK_BYTES);
    this.#stacksCounted = this.reader.pool.made;
  }

  #nothing(): [Points, ReadonlyMap<Trie, Map<number, Inner>>] {
    return [new Points(this.reader, this.#kept), new Map(this.#tries.map((trie) => [trie, new Map()]))];
  }

  #pointBehind(below: Below): number {
    const point = this.#behind.get(below) ?? this.#points.of(this.reader.behind(below));
    this.#behind.set(below, point);
    return point;
  }

  #innerOf(above: readonly Stack[], trie: Trie): Inner {
    const { states } = this.#network;
    const alone = above.map(({ state, count }) =>
      this.reader.pool.stack(state, states[state]!.text?.blurred(count, trie.longest) ?? 0, END),
    );
    this.reader.cost.add(alone.length);
    const point = this.#points.of({ stacks: [...new Set(alone)].sort(byId), ended: false });
    const known = this.#inner.get(trie)!.get(point) ?? this.#madeInner(trie, point);
    this.#inner.get(trie)!.set(point, known);
    return known;
  }

  #madeInner(trie: Trie, point: number): Inner {
    const mask = new Uint32Array(this.#words);
    const exits: number[] = [];
    this.#walk(trie, 0, trie.size, point, mask, exits);
    const words: number[] = [];
    for (let word = 0; word < mask.length; word++) if (mask[word] !== 0) words.push(word);
    this.#kept.add(6 * words.length + 8 * exits.length + INNER_BYTES);
    return { words: Uint16Array.from(words), bits: Uint32Array.from(words, (word) => mask[word]!), exits };
  }

  /**
   * Walks nodes `from` to `end`, starting at `point`, and allows the tokens that lead somewhere. Adds to `exits` the
   * nodes at which the topmost rule may end.
   */
  #walk(trie: Trie, from: number, end: number, point: number, mask: Uint32Array, exits: number[] | null): void {
    const { bytes, depths, ends } = trie;
    const points = this.#points;
    const path: number[] = [point];
    const top = from < end ? depths[from]! : 0;
    for (let node = from; node < end; ) {
      const depth = depths[node]! - top;
      const next = points.next(path[depth]!, bytes[node]!);
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
  for (const stack of stacks) {
    const group = groups.get(stack.below);
    if (group === undefined) groups.set(stack.below, [stack]);
    else group.push(stack);
  }
  return groups;
}

function addTo(mask: Uint32Array, { words, bits }: Inner): void {
  for (let i = 0; i < words.length; i++) mask[words[i]!]! |= bits[i]!;
}
