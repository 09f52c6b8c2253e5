import { DSML } from "./dialect.ts";

/**
 * Text that arrives in pieces, read from the front. Questions about what comes next have three answers: true, false,
 * and null for "too early to say". No answer depends on how the text was cut into pieces.
 */
export class Scanner {
  #held = "";

  feed(text: string): void {
    this.#held += text;
  }

  /** Puts text back in front. */
  unread(text: string): void {
    this.#held = text + this.#held;
  }

  /** Takes everything. */
  rest(): string {
    return this.#drop(this.#held.length);
  }

  startsWith(literal: string): boolean {
    return this.#held.startsWith(literal);
  }

  /** Whether the held text and `literal` agree as far as both go. */
  mayStart(literal: string): boolean {
    return agrees(this.#held, 0, literal);
  }

  /** True: `literal` came next and has been taken. */
  takes(literal: string): boolean | null {
    if (!this.mayStart(literal)) return false;
    if (this.#held.length < literal.length) return null;
    this.#drop(literal.length);
    return true;
  }

  /** Takes `start`, a name on one line, and the first of `ends`. */
  takesNamed(start: string, ends: readonly string[]): { name: string; end: string } | false | null {
    if (!this.mayStart(start)) return false;
    const line = this.#held.slice(start.length, start.length + NAME_CHARS_MAX);
    const found = ends.map((end) => ({ end, at: line.indexOf(end) })).filter(({ at }) => at >= 0);
    const first = found.sort((a, b) => a.at - b.at)[0];
    const name = line.slice(0, first?.at);
    if (name.includes("\n") || name.includes(DSML)) return false;
    if (first === undefined) return line.length < NAME_CHARS_MAX ? null : false;
    if (name === "") return false;
    this.#drop(start.length + first.at + first.end.length);
    return { name, end: first.end };
  }

  /**
   * Takes the text before the first of `marks`, and the mark if it is complete.
   * `mark` null: there is none, or the held text may become one.
   */
  upTo(marks: readonly string[]): { text: string; mark: string | null } {
    for (let i = 0; i < this.#held.length; i++) {
      if (!MARK_STARTS.has(this.#held.charCodeAt(i))) continue;
      const mark = marks.find((candidate) => agrees(this.#held, i, candidate));
      if (mark === undefined) continue;
      const isComplete = this.#held.length - i >= mark.length;
      return { text: this.#drop(i), mark: isComplete ? this.#drop(mark.length) : null };
    }
    return { text: this.rest(), mark: null };
  }

  #drop(count: number): string {
    const dropped = this.#held.slice(0, count);
    this.#held = this.#held.slice(count);
    return dropped;
  }
}

/** Longer names of tools or parameters are taken for text instead of held back. */
const NAME_CHARS_MAX = 1_024;

/** Every mark of the dialect begins with one of these. */
const MARK_STARTS: ReadonlySet<number> = new Set(["<", "\n", DSML].map((mark) => mark.charCodeAt(0)));

/** Whether `text` from `at` on and `mark` agree as far as both go. */
function agrees(text: string, at: number, mark: string): boolean {
  const length = Math.min(mark.length, text.length - at);
  for (let i = 0; i < length; i++) if (text.charCodeAt(at + i) !== mark.charCodeAt(i)) return false;
  return true;
}
