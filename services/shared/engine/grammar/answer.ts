import { ServingError } from "../../runtime/errors.ts";
import { COST_MAX } from "./cost.ts";
import type { Masks } from "./masks.ts";
import { refusedAt } from "./schema-forms.ts";
import type { Stacks } from "./stacks.ts";

/** Cost bound of a whole draft's masks: expensive ones are not worth knowing ahead of time. */
const AHEAD_COST_MAX = COST_MAX / 16;

/** One answer's progress through a grammar. */
export class Answer {
  readonly masks: Masks;
  readonly #bytesOf: (id: number) => Uint8Array;
  readonly #stopIds: readonly number[];
  #at: Stacks;

  constructor(masks: Masks, bytesOf: (id: number) => Uint8Array, stopIds: readonly number[]) {
    this.masks = masks;
    this.#bytesOf = bytesOf;
    this.#stopIds = stopIds;
    masks.begin();
    this.#at = masks.reader.start();
  }

  /** Each id may cost as much as its mask, so taking over an answer costs what it did token by token. */
  take(ids: readonly number[]): void {
    for (const id of ids) {
      this.masks.begin();
      const at = this.#behind(this.#at, id);
      if (at === null) throw new ServingError("INTERNAL", `token ${id} of the answer is not what its schema allows`);
      this.#at = at;
    }
  }

  /** The ids that may follow: bit `id % 32` of word `id / 32`. Throws INVALID_REQUEST if none may. */
  allowed(): Uint32Array<ArrayBuffer> {
    this.masks.begin();
    return this.#allowed(this.#at);
  }

  /**
   * What may follow each id of a draft, which the answer does not take. Stops where the draft leaves the grammar, or
   * where its masks cost more than a small part of what one mask may.
   */
  ahead(draft: readonly number[]): Uint32Array<ArrayBuffer>[] {
    const masks: Uint32Array<ArrayBuffer>[] = [];
    this.masks.begin(AHEAD_COST_MAX);
    try {
      for (let at: Stacks | null = this.#at, i = 0; i < draft.length; i++) {
        at = this.#behind(at, draft[i]!);
        if (at === null) break;
        masks.push(this.#allowed(at));
      }
    } catch (thrown) {
      if (ServingError.from(thrown).code !== "INVALID_REQUEST") throw thrown; // the answer may never come that far
    }
    return masks;
  }

  #behind(from: Stacks, id: number): Stacks | null {
    const bytes = this.#bytesOf(id);
    let at: Stacks | null = bytes.length === 0 ? null : from;
    for (let i = 0; i < bytes.length && at !== null; i++) at = this.masks.reader.step(at, bytes[i]!);
    return at;
  }

  #allowed(at: Stacks): Uint32Array<ArrayBuffer> {
    const mask = this.masks.after(at);
    if (at.ended) for (const id of this.#stopIds) mask[id >> 5]! |= 1 << (id & 31);
    if (mask.every((word) => word === 0)) throw refusedAt("", "cannot be met: no token of this model can continue the answer");
    return mask;
  }
}
