import { refusal } from "../runtime/errors.ts";
import { THINK_END } from "./chat/dialect.ts";
import type { SpecialIds } from "./tokenizer/files.ts";
import type { Tokenizer } from "./tokenizer/tokenizer.ts";

/** The part of a tokenizer that turns tokens into text. */
export interface TokenTexts extends Pick<Tokenizer, "bytesOf"> {
  readonly ids: Pick<SpecialIds, "thinkEnd">;
}

/**
 * Turns token ids into text as they come: whole characters only, nothing that may yet become a stop string, and nothing
 * from a stop string on. `</think>` as a token of its own is never held back: it may be a stop string, but never a part
 * of a longer one. The state follows from the ids alone: after a takeover, push the logged ids again and go on.
 */
export class TextStream {
  readonly #bytesOf: (id: number) => Uint8Array;
  readonly #thinkEnd: number | null;
  readonly #stopsAtThinkEnd: boolean;
  /** A BOM is text like any other. Bytes that are not UTF-8 become U+FFFD where a browser would put it. */
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

  /** The text that `id` makes certain. It ends with `</think>` if `id` is that token and not a stop. */
  push(id: number): string {
    if (this.#stop !== null) return "";
    if (id === this.#thinkEnd) return this.flush() + this.#mark();
    return this.#match(this.#decoder.decode(this.#bytesOf(id), { stream: true }));
  }

  /**
   * The text held back, with U+FFFD for an incomplete character: for when no more ids come, or none that continue it.
   */
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

/** Bounds of a request's stop strings. */
const STOPS_MAX = 16;
const STOP_CHARS_MAX = 1_024;

/**
 * Finds the stop string that is complete first; of several complete at the same character, the longest. The text ends
 * where that string begins. How the text was cut into pieces makes no difference. On average one comparison per
 * character and stop string (Knuth, Morris, Pratt).
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

  /**
   * The text that can no longer be part of a stop string, and the stop string that ends the matching, once complete.
   */
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

  /** The text held back, for when no more comes that continues it. */
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

/** For each prefix: the length of its longest proper prefix that is also its suffix. */
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
