import type { Kept } from "./kept.ts";
import type { Reader } from "./reader.ts";
import { keyOf, type Stacks } from "./stacks.ts";

/** The point from which no byte leads on. */
export const NOWHERE = 0;
const UNASKED = -1;
/** Bytes of one point: where its bytes lead, counted twice because the table grows by doubling, and its stacks. */
const POINT_BYTES = 2_560;
/** In steps: a mask that keeps finding new points is given up by the time they take some hundred megabytes. */
const POINT_COST = 32;

/** Numbers sets of stacks, and remembers where each byte leads from them, as far as was asked. */
export class Points {
  readonly #reader: Reader;
  readonly #kept: Kept;
  readonly #known = new Map<string, number>();
  readonly #stacks: Stacks[] = [{ stacks: [], ended: false }];
  #next = new Int32Array(256 * 16).fill(UNASKED);

  constructor(reader: Reader, kept: Kept) {
    this.#reader = reader;
    this.#kept = kept;
  }

  /** Whether the answer, or the part of it in question, may end here. */
  ends(point: number): boolean {
    return this.#stacks[point]!.ended;
  }

  /** Whether no byte leads on. */
  isOver(point: number): boolean {
    return this.#stacks[point]!.stacks.length === 0;
  }

  of(stacks: Stacks): number {
    const key = keyOf(stacks.stacks, stacks.ended);
    return this.#known.get(key) ?? this.#add(key, stacks);
  }

  next(point: number, byte: number): number {
    const known = this.#next[256 * point + byte]!;
    if (known !== UNASKED) return known;
    const reached = this.#reader.step(this.#stacks[point]!, byte);
    const next = reached === null ? NOWHERE : this.of(reached);
    this.#next[256 * point + byte] = next;
    return next;
  }

  #add(key: string, stacks: Stacks): number {
    const point = this.#stacks.push(stacks) - 1;
    this.#known.set(key, point);
    this.#kept.add(POINT_BYTES);
    this.#reader.cost.add(POINT_COST);
    if (this.#next.length < 256 * this.#stacks.length) {
      const grown = new Int32Array(this.#next.length * 2).fill(UNASKED, this.#next.length);
      grown.set(this.#next);
      this.#next = grown;
    }
    return point;
  }
}
