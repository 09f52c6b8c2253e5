import type { TokenizerFile } from "./files.ts";

/** The bytes of each token, in one block (1 MB for 129,280 tokens) that crosses threads as it is. */
export interface TokenTable {
  readonly block: Uint8Array<ArrayBuffer>;
  /** Token `id` is block[starts[id]..starts[id + 1]]: `starts` has one entry more than there are ids. */
  readonly starts: Int32Array<ArrayBuffer>;
  readonly special: readonly number[];
}

export function tokenTable({ model, added_tokens = [] }: TokenizerFile): TokenTable {
  const texts: Uint8Array[] = [];
  for (const [token, id] of Object.entries(model.vocab)) texts[id] = byteLevelBytes(token);
  for (const { id, content } of added_tokens) texts[id] = Buffer.from(content, "utf8");
  const starts = new Int32Array(texts.length + 1);
  for (let id = 0; id < texts.length; id++) starts[id + 1] = starts[id]! + (texts[id]?.length ?? 0);
  const block = new Uint8Array(starts[texts.length]!);
  texts.forEach((bytes, id) => {
    block.set(bytes, starts[id]!);
  });
  return { block, starts, special: added_tokens.filter((token) => token.special).map((token) => token.id) };
}

/** Looks tokens up in a table. */
export class TokenBytes {
  /** One more than the largest id. */
  readonly size: number;
  readonly table: TokenTable;
  readonly #special: ReadonlySet<number>;
  /** Views of the ids asked for so far, one each: answers with log probabilities hold many. */
  readonly #views: (Uint8Array | undefined)[];

  constructor(table: TokenTable) {
    this.size = table.starts.length - 1;
    this.#views = new Array(this.size);
    this.table = table;
    this.#special = new Set(table.special);
  }

  /** The token's bytes: for one id always the same view; empty for ids without text. */
  of(id: number): Uint8Array {
    if (id < 0 || id >= this.size) return EMPTY;
    const { block, starts } = this.table;
    this.#views[id] ??= block.subarray(starts[id]!, starts[id + 1]!);
    return this.#views[id];
  }

  isSpecial(id: number): boolean {
    return this.#special.has(id);
  }
}

const EMPTY = new Uint8Array(0);

/**
 * Byte-level BPE writes each byte as one printable character: itself where it is printable Latin-1, else the next free
 * one from U+0100 on. A token with any other character stands for its own UTF-8.
 */
function byteLevelBytes(token: string): Uint8Array {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = byteOfChar.get(token.charCodeAt(i));
    if (byte === undefined) return Buffer.from(token, "utf8");
    bytes[i] = byte;
  }
  return bytes;
}

const byteOfChar = new Map<number, number>();
{
  const printable = (byte: number) => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) byteOfChar.set(printable(byte) ? byte : next++, byte);
}
