import { refusal } from "../runtime/errors.ts";
import { THINK_END } from "./chat/dialect.ts";
import type { SpecialIds } from "./tokenizer/files.ts";
import type { Tokenizer } from "./tokenizer/tokenizer.ts";

/** What of a tokenizer makes text of tokens. */
export interface TokenTexts extends Pick<Tokenizer, "bytesOf"> {
  readonly ids: Pick<SpecialIds, "thinkEnd">;
}

/**
 * Turns token ids into text as they come: whole characters only, nothing that may yet become a stop string, and nothing from a stop
 * string on. `</think>` as a token of its own is never held back: a stop string may be this mark, but has no other part in it. The state
 * follows from the ids alone: after a takeover, push the logged ids again and go on.
 */
export class TextStream {
  readonly #bytesOf: (id: number) => Uint8Array;
  readonly #thinkEnd: number | null;
  readonly #stopsAtThinkEnd: boolean;
  /** A BOM is text like any other; bytes that are not UTF-8 become U+FFFD at the place where a browser would put it. */
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  readonly #matcher: StopMatcher;
  #stop: string | null = null;

  /** Throws INVALID_REQUEST for stop strings out of bounds. */
  constructor(tokenizer: TokenTexts, stops: readonly string[]) {
    this.#bytesOf = (id) => tokenizer.bytesOf(id);
    this.#thinkEnd = tokenizer.ids.thinkEnd;
    this.#stopsAtThinkEnd = stops.includes(THINK_END);
    this.#matcher = new StopMatcher(stops);
  }

  /** The stop string that ended the text, or null. From then on `push` and `flush` give nothing. */
  get stopped(): string | null {
    return this.#stop;
  }

  /** The text that is certain now that `id` is known; it ends with `</think>` where `id` is that and no stop. */
  push(id: number): string {
    if (this.#stop !== null) return "";
    if (id === this.#thinkEnd) return this.flush() + this.#mark();
    return this.#match(this.#decoder.decode(this.#bytesOf(id), { stream: true }));
  }

  /** What was held back, and U+FFFD for half a character, when no more ids come, or none that go on with it. */
  flush(): string {
    if (this.#stop !== null) return "";
    const text = this.#match(this.#decoder.decode());
    return this.#stop === null ? text + this.#matcher.flush() : text;
  }

  #mark(): string {
    if (this.#stop === null && this.#stopsAtThinkEnd) this.#stop = THINK_END;
    return this.#stop === null ? THINK_END : "";
  }

  #match(text: string): string {
    const found = this.#matcher.push(text);
    this.#stop = found.stop;
    return found.text;
  }
}

/** Bounds of what a request may ask for. */
const STOPS_MAX = 16;
const STOP_CHARS_MAX = 1_024;

/**
 * Finds the stop string that is complete first; of several complete at the same character, the longest. The text ends where it begins.
 * How the text was cut into pieces makes no difference. One comparison of a character on average per stop string (Knuth, Morris, Pratt).
 */
export class StopMatcher {
  readonly #stops: readonly { readonly text: string; readonly fallback: Int32Array }[];
  /** How many characters of each stop string the text so far ends with. */
  readonly #matched: Int32Array;
  #held = "";

  constructor(stops: readonly string[]) {
    requireStops(stops);
    this.#stops = stops.map((text) => ({ text, fallback: fallbacks(text) }));
    this.#matched = new Int32Array(stops.length);
  }

  /** The text that can no longer be part of a stop string, and the stop string if one is complete; then the matcher is done. */
  push(text: string): { readonly text: string; readonly stop: string | null } {
    if (this.#stops.length === 0) return { text, stop: null };
    const all = this.#held + text;
    for (let i = this.#held.length; i < all.length; i++) {
      const stop = this.#advance(all.charCodeAt(i));
      if (stop !== null) return { text: all.slice(0, i + 1 - stop.length), stop };
    }
    const certain = all.length - Math.max(...this.#matched);
    this.#held = all.slice(certain);
    return { text: all.slice(0, certain), stop: null };
  }

  /** What was held back, if no more text comes that goes on with it. */
  flush(): string {
    const rest = this.#held;
    this.#held = "";
    this.#matched.fill(0);
    return rest;
  }

  #advance(char: number): string | null {
    let found: string | null = null;
    for (let s = 0; s < this.#stops.length; s++) {
      const { text, fallback } = this.#stops[s]!;
      let length = this.#matched[s]!;
      while (length > 0 && text.charCodeAt(length) !== char) length = fallback[length - 1]!;
      if (text.charCodeAt(length) === char) length++;
      this.#matched[s] = length;
      if (length === text.length && text.length > (found?.length ?? 0)) found = text;
    }
    return found;
  }
}

/** For each length of a prefix: how long its longest proper prefix is that is also its end. */
function fallbacks(text: string): Int32Array {
  const table = new Int32Array(text.length);
  for (let i = 1, length = 0; i < text.length; i++) {
    while (length > 0 && text[i] !== text[length]) length = table[length - 1]!;
    if (text[i] === text[length]) length++;
    table[i] = length;
  }
  return table;
}

function requireStops(stops: readonly string[]): void {
  const problem =
    stops.length > STOPS_MAX
      ? `has ${stops.length} strings; at most ${STOPS_MAX} are possible`
      : stops.some((stop) => stop === "")
        ? "contains an empty string"
        : stops.some((stop) => stop.length > STOP_CHARS_MAX)
          ? `contains a string of more than ${STOP_CHARS_MAX} characters`
          : stops.some((stop) => /\p{Surrogate}/u.test(stop))
            ? "contains half a surrogate pair: send valid Unicode"
            : null;
  if (problem !== null) throw refusal(`stop ${problem}`, { param: "stop" });
}
