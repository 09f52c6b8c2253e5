import { Grammars } from "../../services/shared/engine/grammar/grammars.ts";
import type { WeightlessOptions } from "../../services/shared/engine/weightless/options.ts";

export const EOS = 1;
export const SEGMENT = 128;
/** Small enough that a few hundred tokens are many chunks and segments. */
export const engineOptions: WeightlessOptions = {
  vocabSize: 500,
  eosId: EOS,
  eosOneIn: 60,
  segmentTokens: SEGMENT,
  replayTokens: 160,
  chunkTokens: 96,
  batchMax: 8,
  contextTokens: 4_096,
};

/** Id 2 + i is the printable ASCII character i; from 97 on, two of them or a part of a character of more bytes. */
const texts = Array.from({ length: 500 }, (_, id): Uint8Array => {
  const ascii = (i: number) => String.fromCharCode(0x20 + (i % 95));
  if (id < 2) return Buffer.from(`<${id}>`);
  if (id < 97) return Buffer.from(ascii(id - 2));
  return id % 5 === 0 ? Uint8Array.of(0x80 + (id % 0x77)) : Buffer.from(ascii(id * 7) + ascii(id * 13));
});
export const textOf = (ids: readonly number[]): string => Buffer.concat(ids.map((id) => texts[id]!)).toString();
const starts = Int32Array.from({ length: 501 }, (_, id) => texts.slice(0, id).reduce((sum, { length }) => sum + length, 0));
const table = { block: Uint8Array.from(Buffer.concat(texts)), starts, special: [0, EOS] };
export const grammars = new Grammars({ table, stopIds: [EOS], vocabSize: 500 }, { compileMs: 20_000, nextMs: 5_000 });

/** Ids that differ with `salt` from the first one on. */
export const promptIds = (length: number, salt = 0): Int32Array =>
  Int32Array.from({ length }, (_, i) => 2 + ((i * 7919 + salt * 104_729 + 13) % 498));

/** A text is its ids, each as a letter: a stop string is a run of ids. */
export const letter = (id: number): string => String.fromCharCode(0x4e00 + id);
export const watchText = (stops: readonly string[]) => {
  let text = "";
  return {
    push: (id: number) => {
      text += letter(id);
      return stops.some((stop) => text.includes(stop));
    },
  };
};
