import type { Likely, Score } from "../answer/answer.ts";

export type Logprobs = object;

/** Of a chat: what was said and what was thought apart. Null where there is nothing to tell. */
export function chatLogprobs(scores: readonly Score[]): Logprobs | null {
  if (scores.length === 0) return null;
  const reasoning = scores.filter((score) => score.reasoning).map(chatToken);
  return {
    content: scores.filter((score) => !score.reasoning).map(chatToken),
    refusal: null,
    ...(reasoning.length === 0 ? {} : { reasoning_content: reasoning }),
  };
}

const chatToken = (score: Score): object => ({ ...chatLikely(score), top_logprobs: score.top.map(chatLikely) });

const chatLikely = ({ bytes, logprob }: Likely): object => ({ token: spelled(bytes), logprob, bytes: [...bytes] });

/** Of a completion: where each token begins in the text depends on those before it. */
export class TextLogprobs {
  readonly #offsets = new TextOffsets();

  take(scores: readonly Score[]): Logprobs | null {
    if (scores.length === 0) return null;
    return {
      tokens: scores.map(({ bytes }) => spelled(bytes)),
      token_logprobs: scores.map(({ logprob }) => logprob),
      top_logprobs: scores.map(({ top }) => Object.fromEntries(top.map(({ bytes, logprob }) => [spelled(bytes), logprob]))),
      text_offset: scores.map(({ bytes }) => this.#offsets.next(bytes)),
    };
  }
}

/**
 * Where tokens begin in the text that they make together, in characters (code points), as OpenAI counts them. One that goes on with a character begins
 * where that does.
 */
class TextOffsets {
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #characters = 0;

  next(bytes: Uint8Array): number {
    if (bytes.length > 0 && !isContinuation(bytes[0]!)) this.#count(this.#decoder.decode()); // what is left of a character stays U+FFFD
    const begin = this.#characters;
    this.#count(this.#decoder.decode(bytes, { stream: true }));
    return begin;
  }

  #count(text: string): void {
    for (const _ of text) this.#characters++;
  }
}

/** Of UTF-8: no character begins with it. */
const isContinuation = (byte: number): boolean => (byte & 0xc0) === 0x80;

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** Pieces of a character become U+FFFD; a chat's `bytes` are exact. */
const spelled = (bytes: Uint8Array): string => utf8.decode(bytes);
