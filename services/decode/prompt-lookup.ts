/** A draft of what follows, and the chance of each of its ids if those before it are right. */
export interface Draft {
  readonly ids: Int32Array;
  readonly chance: number;
}

/** Ids that must match for a copy to begin. */
const SAME = 3;
/** The most ids that are indexed in one call: a prompt of a million tokens is indexed after sixteen steps. */
const INDEXED_MAX = 65_536;
/** Places in one answer's index, powers of two: 4 MB for a text of a million ids. */
const PLACES_MIN = 2 ** 10;
const PLACES_MAX = 2 ** 20;
/** After this many ids in a row a copy is long, and its ids have a chance of their own. */
const LONG = 8;
/** Weight of the last checked id in a chance. */
const RATE = 1 / 16;

/**
 * Prompt lookup decoding: an answer that quotes its prompt, or repeats itself, is drafted from the earlier text,
 * without another model. What a draft is worth is learnt from all of its ids that came, whether they were run ahead or
 * not.
 */
export class PromptLookup {
  /**
   * By the hash of SAME ids, the index behind the last place that has them; 0: none. Places of equal hash replace each
   * other.
   */
  #places = new Int32Array(PLACES_MIN);
  /** Ids that are indexed. */
  #indexed = SAME - 1;
  /** The chance of an id in a copy that has just begun, and in a long one. */
  readonly #chances = [0.4, 0.8];
  /** How many ids there were at the last call, and the draft it gave, which follows its `next`. */
  #at = 0;
  #draft = new Int32Array();
  /** Index that `next` is copied from, -1: none; and how many ids of the copy came before it. */
  #source = -1;
  #copied = 0;

  /**
   * Drafts what follows `next`: at most `max` ids, which may be none. `ids`: the text before `next`, which extends that
   * of the last call.
   */
  draft(ids: Int32Array, next: number, max: number): Draft {
    this.#learn(ids, next);
    this.#index(ids);
    const moved = ids.length - this.#at;
    this.#at = ids.length;
    if (this.#source >= 0 && ids[this.#source + moved] === next) {
      this.#source += moved;
      this.#copied += moved;
    } else {
      this.#source = this.#lookUp(ids, next);
      this.#copied = 0;
    }
    this.#draft = this.#source < 0 ? new Int32Array() : ids.slice(this.#source + 1, this.#source + 1 + max);
    return { ids: this.#draft, chance: this.#chances[this.#kind]! };
  }

  get #kind(): 0 | 1 {
    return this.#copied < LONG ? 0 : 1;
  }

  /** Learns from what came since the last call. */
  #learn(ids: Int32Array, next: number): void {
    for (const [i, expected] of this.#draft.entries()) {
      const at = this.#at + 1 + i;
      if (at > ids.length) return;
      const came = at === ids.length ? next : ids[at];
      const chance = this.#chances[this.#kind]!;
      this.#chances[this.#kind] = chance + RATE * ((came === expected ? 1 : 0) - chance);
      if (came !== expected) return;
    }
  }

  #index(ids: Int32Array): void {
    if (ids.length > this.#places.length && this.#places.length < PLACES_MAX) this.#makePlaces(ids.length);
    const end = Math.min(ids.length, this.#indexed + INDEXED_MAX);
    for (let at = this.#indexed; at < end; at++) this.#places[this.#slot(ids[at - 2]!, ids[at - 1]!, ids[at]!)] = at + 1;
    this.#indexed = Math.max(this.#indexed, end);
  }

  /** Two to four times as many places as the text has ids, which are then indexed anew. */
  #makePlaces(length: number): void {
    this.#places = new Int32Array(Math.min(PLACES_MAX, 2 ** (2 + Math.floor(Math.log2(length)))));
    this.#indexed = SAME - 1;
  }

  /** The index of `next` where it last followed the same two ids; -1: nowhere. */
  #lookUp(ids: Int32Array, next: number): number {
    const [first, second] = [ids.at(-2), ids.at(-1)];
    if (first === undefined || second === undefined) return -1;
    const at = this.#places[this.#slot(first, second, next)]! - 1;
    return at >= 0 && ids[at - 2] === first && ids[at - 1] === second && ids[at] === next ? at : -1;
  }

  #slot(a: number, b: number, c: number): number {
    const mixed = Math.imul(Math.imul(Math.imul(a, 0x9e3779b1) ^ b, 0x85ebca77) ^ c, 0xc2b2ae3d);
    return (mixed ^ (mixed >>> 15)) & (this.#places.length - 1);
  }
}
