import type { StoredFile } from "../shared/batches/file.ts";
import type { Bus } from "../shared/bus/contract.ts";
import { ServingError } from "../shared/runtime/errors.ts";

/** A line of a file, without its end. */
export interface RawLine {
  /** From 1 on, empty lines counted. */
  readonly number: number;
  /** Of its first byte. */
  readonly offset: number;
  readonly bytes: Uint8Array;
}

const NEWLINE = 10;

/** The lines of a file that are not empty, with one part and one line of it in memory at a time, and `beat` before each. TOO_LARGE for a line beyond `lineBytesMax`. */
export async function* linesOf(bus: Bus, file: StoredFile, lineBytesMax: number, beat: () => Promise<void>): AsyncGenerator<RawLine> {
  let rest: Uint8Array = new Uint8Array(0);
  let offset = 0;
  let number = 1;
  const line = (bytes: Uint8Array): RawLine => ({ number, offset, bytes });
  const more = (bytes: Uint8Array): Uint8Array => {
    if (rest.length + bytes.length > lineBytesMax)
      throw new ServingError("TOO_LARGE", `line ${number} has more than ${lineBytesMax} bytes`);
    return joined(rest, bytes);
  };
  for (const part of file.parts.keys()) {
    await beat();
    const bytes = await partOf(bus, file, part);
    let begin = 0;
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, begin)) {
      const found = line(more(bytes.subarray(begin, end)));
      if (!isBlank(found.bytes)) yield found;
      offset += found.bytes.length + 1;
      number++;
      begin = end + 1;
      rest = new Uint8Array(0);
    }
    rest = more(bytes.subarray(begin));
  }
  if (!isBlank(rest)) yield line(rest);
}

/**
 * Bytes of a file anywhere. One part is read at a time, and brings all that was asked of it meanwhile: hundreds of lines may be begun at once, and a
 * document's lines lie anywhere in the file. The parts last read are kept, as neighbours are read together.
 */
export class PartReader {
  readonly #bus: Bus;
  readonly #file: StoredFile;
  readonly #over: AbortSignal;
  readonly #begins: readonly number[];
  readonly #kept = new Map<number, Uint8Array>();
  readonly #asked = new Map<number, Promise<Uint8Array>>();
  #turn: Promise<unknown> = Promise.resolve();

  /** `over`: what has not had its turn by then is not read. */
  constructor(bus: Bus, file: StoredFile, over: AbortSignal) {
    this.#bus = bus;
    this.#file = file;
    this.#over = over;
    let begin = 0;
    this.#begins = file.parts.map(({ bytes }) => {
      begin += bytes;
      return begin - bytes;
    });
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const pieces: Uint8Array[] = [];
    for (let part = this.#begins.findLastIndex((begin) => begin <= offset); part < this.#begins.length; part++) {
      const begin = this.#begins[part]!;
      if (begin >= offset + length) break;
      const bytes = await this.#part(part);
      pieces.push(bytes.subarray(Math.max(0, offset - begin), offset + length - begin));
    }
    return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
  }

  async #part(part: number): Promise<Uint8Array> {
    const bytes = this.#kept.get(part) ?? (await (this.#asked.get(part) ?? this.#ask(part)));
    this.#kept.delete(part); // the latest stands last
    this.#kept.set(part, bytes);
    if (this.#kept.size > PARTS_KEPT) this.#kept.delete(this.#kept.keys().next().value!);
    return bytes;
  }

  #ask(part: number): Promise<Uint8Array> {
    const read = () => {
      this.#over.throwIfAborted();
      return partOf(this.#bus, this.#file, part);
    };
    const asked = this.#turn.then(read).finally(() => this.#asked.delete(part));
    this.#asked.set(part, asked);
    this.#turn = asked.catch(() => {});
    return asked;
  }
}

const PARTS_KEPT = 8;

async function partOf({ files }: Bus, { id, parts }: StoredFile, part: number): Promise<Uint8Array> {
  const bytes = await files.get(parts[part]!.key);
  if (bytes === null) throw new ServingError("NOT_FOUND", `a part of ${id} is gone`);
  return bytes;
}

const joined = (a: Uint8Array, b: Uint8Array): Uint8Array => (a.length === 0 ? b : Buffer.concat([a, b]));

/** Nothing but spaces, tabs and carriage returns. */
const isBlank = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 32 || byte === 9 || byte === 13);
