import type { Likely, Score } from "../answer.ts";

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
  #offset = 0;

  take(scores: readonly Score[]): Logprobs | null {
    if (scores.length === 0) return null;
    const tokens = scores.map(({ bytes }) => spelled(bytes));
    return {
      tokens,
      token_logprobs: scores.map(({ logprob }) => logprob),
      top_logprobs: scores.map(({ top }) => Object.fromEntries(top.map(({ bytes, logprob }) => [spelled(bytes), logprob]))),
      text_offset: tokens.map((token) => {
        const start = this.#offset;
        this.#offset += token.length;
        return start;
      }),
    };
  }
}

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** Pieces of a character become U+FFFD; a chat's `bytes` are exact. */
const spelled = (bytes: Uint8Array): string => utf8.decode(bytes);
