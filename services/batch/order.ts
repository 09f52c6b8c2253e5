import { createHash } from "node:crypto";

/** Lengths of the prefixes that are compared, in characters. */
const LEVELS = [256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304] as const;

/**
 * An order of lines in which those whose prompts begin alike follow each other, so that what they share is computed once and still there for
 * the next. Prompts are compared by digests of prefixes of growing length: 64 bytes a line, whatever its size.
 */
export class PrefixOrder {
  /** At each level, the first line of those that agree so far. */
  readonly #firsts: Array<Map<string, number>> = LEVELS.map(() => new Map());
  /** LEVELS of each line. */
  #groups = new Uint32Array(1_024 * LEVELS.length);
  #lines = 0;

  /** `prompt`: what the model will read first comes first. */
  add(prompt: string): void {
    const line = this.#lines++;
    if (this.#groups.length < this.#lines * LEVELS.length) this.#groups = grown(this.#groups);
    const hash = createHash("sha256");
    let first = line;
    for (const [level, length] of LEVELS.entries()) {
      const begin = level === 0 ? 0 : LEVELS[level - 1]!;
      if (level === 0 || begin < prompt.length) {
        const digest = hash.update(prompt.slice(begin, length)).copy().digest("base64url").slice(0, 20);
        const firsts = this.#firsts[level]!;
        first = firsts.get(digest) ?? line;
        firsts.set(digest, first);
      } // else all of it was compared
      this.#groups[line * LEVELS.length + level] = first;
    }
  }

  /** The lines, in this order; nothing is kept. */
  take(): Uint32Array {
    const groups = this.#groups;
    this.#groups = new Uint32Array(0);
    for (const firsts of this.#firsts) firsts.clear();
    return Uint32Array.from({ length: this.#lines }, (_, line) => line).sort((a, b) => {
      for (let level = 0; level < LEVELS.length; level++) {
        const difference = groups[a * LEVELS.length + level]! - groups[b * LEVELS.length + level]!;
        if (difference !== 0) return difference;
      }
      return a - b;
    });
  }
}

function grown(array: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(2 * array.length);
  larger.set(array);
  return larger;
}

/** What of a request's body stands in front in its prompt, tools first. */
export function promptStart({ tools, instructions, messages, prompt, input }: Readonly<Record<string, unknown>>): string {
  return JSON.stringify([tools ?? null, instructions ?? null, messages ?? prompt ?? input ?? null]);
}
