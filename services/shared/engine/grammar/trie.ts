import type { TokenTable } from "../tokenizer/bytes.ts";

/** The tokens that an answer is made of. */
export interface Vocabulary {
  readonly table: TokenTable;
  readonly stopIds: readonly number[];
  /** Number of the model's logits. Ids without text are never allowed. */
  readonly vocabSize: number;
}

/**
 * Tokens as one tree of their bytes, in depth-first order: a node, what is below it, then its next sibling. Below node
 * `i` are the nodes [i + 1, ends[i]). 129,280 tokens have some 300,000 nodes.
 */
export class Trie {
  readonly bytes: Uint8Array;
  /** Bytes before the node's own. */
  readonly depths: Uint16Array;
  readonly ends: Int32Array;
  /** The token that ends at a node; NONE; or SEVERAL minus the index of a list of tokens with the same bytes. */
  readonly #ids: Int32Array;
  readonly #several: Array<readonly number[]> = [];
  /** Bytes of the longest token. */
  readonly longest: number;

  /** `tokens`: ids by the token's bytes, a character each; the runtime sorts strings faster than bytes. */
  constructor(tokens: ReadonlyMap<string, readonly number[]>) {
    const texts = [...tokens.keys()].sort();
    const most = texts.reduce((sum, text) => sum + text.length, 0);
    const [bytes, depths, ends, ids] = [new Uint8Array(most), new Uint16Array(most), new Int32Array(most), new Int32Array(most).fill(NONE)];
    const path: number[] = [];
    let before = "";
    let size = 0;
    for (const text of texts) {
      let depth = 0;
      while (depth < before.length && before.charCodeAt(depth) === text.charCodeAt(depth)) depth++;
      for (const node of path.splice(depth)) ends[node] = size;
      for (; depth < text.length; depth++) {
        bytes[size] = text.charCodeAt(depth);
        depths[size] = depth;
        path.push(size++);
      }
      const those = tokens.get(text)!;
      ids[size - 1] = those.length === 1 ? those[0]! : SEVERAL + 1 - this.#several.push(those);
      before = text;
    }
    for (const node of path) ends[node] = size;
    this.bytes = bytes.slice(0, size);
    this.depths = depths.slice(0, size);
    this.ends = ends.slice(0, size);
    this.longest = texts.reduce((longest, text) => Math.max(longest, text.length), 0);
    this.#ids = ids.slice(0, size);
  }

  get size(): number {
    return this.bytes.length;
  }

  /** Allows the token that ends at `node`, if one does. */
  allow(node: number, mask: Uint32Array): void {
    const id = this.#ids[node]!;
    if (id >= 0) mask[id >> 5]! |= 1 << (id & 31);
    else if (id <= SEVERAL) for (const one of this.#several[SEVERAL - id]!) mask[one >> 5]! |= 1 << (one & 31);
  }
}

const NONE = -1;
const SEVERAL = -2;

/**
 * Tries by the length of tokens. Nearly all tokens are short, and what these lead to is the same for any string with as
 * much room left. So a string near its bound costs a walk through the few long tokens, and only at its end through all.
 */
export function triesOf({ table, vocabSize }: Vocabulary): readonly Trie[] {
  const { block, starts, special } = table;
  const text = Buffer.from(block.buffer, block.byteOffset, block.length).toString("latin1");
  const isSpecial = new Set(special);
  const parts = LENGTHS.map(() => new Map<string, number[]>());
  for (let id = 0; id < Math.min(vocabSize, starts.length - 1); id++) {
    const token = text.slice(starts[id], starts[id + 1]);
    if (token === "" || isSpecial.has(id)) continue;
    const part = parts[LENGTHS.findIndex((longest) => token.length <= longest)]!;
    const ids = part.get(token);
    if (ids === undefined) part.set(token, [id]);
    else ids.push(id);
  }
  return parts.map((part) => new Trie(part));
}

/** In bytes. Of 129,280 tokens some 80 % fit the first, and all but 3 % the second. */
const LENGTHS = [8, 20, Number.POSITIVE_INFINITY];
