import type { Kept } from "./kept.ts";
import type { Reader } from "./reader.ts";
import { keyOf, type Stacks } from "./stacks.ts";

/** The point from which nothing leads on. */
export const NOWHERE = 0;
const UNASKED = -1;
/** Of one point: where its bytes lead, twice over, as the table grows by doubling, and its stacks. */
const POINT_BYTES = 2_560;

/** Stacks by number, and where each byte leads from them, as far as it was asked for. */
export class Points {
  readonly #reader: Reader;
  readonly #kept: Kept;
  readonly #known = new Map<string, number>();
  /** The first are for those of a walk for which there is no room: one for each depth, which the next at that depth takes over. */
  readonly #stacks: Stacks[];
  #next: Int32Array;

  constructor(reader: Reader, kept: Kept, depthMax: number) {
    this.#reader = reader;
    this.#kept = kept;
    this.#stacks = Array.from({ length: depthMax + 1 }, () => ({ stacks: [], ended: false }));
    this.#next = new Int32Array(256 * (depthMax + 16)).fill(UNASKED);
  }

  /** Whether the answer, or what of it is looked at, may end here. */
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

  /** `depth`: of the point that it leads to, in a walk. */
  next(point: number, byte: number, depth: number): number {
    const known = this.#next[256 * point + byte]!;
    if (known !== UNASKED) return known;
    const next = this.#step(point, byte, depth);
    if (next !== depth) this.#next[256 * point + byte] = next; // else it is lent
    return next;
  }

  #step(point: number, byte: number, depth: number): number {
    const reached = this.#reader.step(this.#stacks[point]!, byte);
    if (reached === null) return NOWHERE;
    const key = keyOf(reached.stacks, reached.ended);
    const known = this.#known.get(key);
    if (known === undefined && this.#kept.isFull) return this.#lent(depth, reached);
    return known ?? this.#add(key, reached);
  }

  #add(key: string, stacks: Stacks): number {
    const point = this.#stacks.push(stacks) - 1;
    this.#known.set(key, point);
    this.#kept.add(POINT_BYTES);
    if (this.#next.length < 256 * this.#stacks.length) {
      const grown = new Int32Array(this.#next.length * 2).fill(UNASKED, this.#next.length);
      grown.set(this.#next);
      this.#next = grown;
    }
    return point;
  }

  #lent(depth: number, stacks: Stacks): number {
    this.#stacks[depth] = stacks;
    this.#next.fill(UNASKED, 256 * depth, 256 * (depth + 1));
    return depth;
  }
}
