import { expect } from "vitest";
import type { Grammars } from "../../services/shared/engine/grammar/grammars.ts";
import type { Vocabulary } from "../../services/shared/engine/grammar/trie.ts";
import type { seededRandom } from "../../services/shared/runtime/random.ts";
import { allowedIds } from "./allowed-ids.ts";

const END = 256;

/** Tokens are bytes, so each answer can be written in one way only. */
export const byteVocabulary: Vocabulary = {
  table: {
    block: Uint8Array.from({ length: 256 }, (_, byte) => byte),
    starts: Int32Array.from({ length: 258 }, (_, i) => Math.min(i, 256)),
    special: [],
  },
  stopIds: [END],
  vocabSize: 257,
};

/** Whether `text` is a whole answer. */
export async function takesBytes(grammars: Grammars, schema: object, text: string | Uint8Array): Promise<boolean> {
  const following = grammars.follow({ schema: JSON.stringify(schema) });
  try {
    return allowedIds((await following.allowed([...Buffer.from(text)]))!, 257).includes(END);
  } catch (error) {
    expect(error).toMatchObject({ message: expect.stringContaining("is not what its schema allows") });
    return false;
  } finally {
    following.close();
  }
}

/** An answer of random bytes among those allowed, which ends as soon as it may once it has `enough` bytes. */
export async function walkBytes(grammars: Grammars, schema: object, random: ReturnType<typeof seededRandom>, enough = 40): Promise<string> {
  const following = grammars.follow({ schema: JSON.stringify(schema) });
  const answer: number[] = [];
  try {
    for (;;) {
      const may = allowedIds((await following.allowed(answer))!, 257);
      const ends = may.includes(END) && (may.length === 1 || answer.length >= enough || random.u32() % 8 === 0);
      if (ends) return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(answer));
      const quote = answer.length >= enough && may.includes(0x22) ? 0x22 : undefined;
      const bytes = may.filter((id) => id !== END);
      answer.push(quote ?? bytes[random.u32() % bytes.length]!);
      expect(answer.length).toBeLessThan(2_000);
    }
  } finally {
    following.close();
  }
}
