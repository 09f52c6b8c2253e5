/** The parts of tokenizer.json that we read ourselves; everything else is the native library's business. */
export interface TokenizerFile {
  readonly model: { readonly type: string; readonly vocab: Readonly<Record<string, number>> };
  readonly added_tokens?: readonly AddedToken[];
  readonly pre_tokenizer?: unknown;
  readonly normalizer?: unknown;
}

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  readonly rstrip: boolean;
}

/** What bytes each token stands for, in one block of memory: 1 MB for 129,280 tokens. */
export class TokenBytes {
  /** One more than the largest id. */
  readonly size: number;
  private readonly block: Uint8Array;
  /** Token `id` is block[starts[id]..starts[id + 1]]. */
  private readonly starts: Int32Array;
  private readonly special = new Set<number>();

  constructor(file: TokenizerFile) {
    const texts: Uint8Array[] = [];
    for (const [token, id] of Object.entries(file.model.vocab)) texts[id] = byteLevelBytes(token);
    for (const token of file.added_tokens ?? []) {
      texts[token.id] = Buffer.from(token.content, "utf8");
      if (token.special) this.special.add(token.id);
    }
    this.size = texts.length;
    this.starts = new Int32Array(this.size + 1);
    for (let id = 0; id < this.size; id++) this.starts[id + 1] = this.starts[id]! + (texts[id]?.length ?? 0);
    this.block = new Uint8Array(this.starts[this.size]!);
    texts.forEach((bytes, id) => {
      this.block.set(bytes, this.starts[id]!);
    });
  }

  of(id: number): Uint8Array {
    return id >= 0 && id < this.size ? this.block.subarray(this.starts[id]!, this.starts[id + 1]!) : EMPTY;
  }

  isSpecial(id: number): boolean {
    return this.special.has(id);
  }

  /** The bytes of ids[start..end], joined. */
  concat(ids: ArrayLike<number>, start: number, end: number, skipSpecial: boolean): Uint8Array {
    const parts: Uint8Array[] = [];
    for (let i = start; i < end; i++) {
      const id = ids[i]!;
      if (!(skipSpecial && this.special.has(id))) parts.push(this.of(id));
    }
    return Buffer.concat(parts);
  }
}

const EMPTY = new Uint8Array(0);

/**
 * Byte-level BPE writes each byte as one printable character: itself where it is printable Latin-1, else the next free one from U+0100 on.
 * A token with any other character stands for its own UTF-8.
 */
const byteOfChar = new Map<number, number>();
{
  const printable = (byte: number) => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) byteOfChar.set(printable(byte) ? byte : next++, byte);
}

function byteLevelBytes(token: string): Uint8Array {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = byteOfChar.get(token.charCodeAt(i));
    if (byte === undefined) return Buffer.from(token, "utf8");
    bytes[i] = byte;
  }
  return bytes;
}
