import { refusedAt } from "./schema-forms.ts";

/** What to change: the client may hear of it amid an answer. */
const TOO_MANY_WAYS =
  "leaves an answer that can be read in too many ways at once: give anyOf fewer schemas, or each a required first property with a const of its own, or fewer strings a pattern or a length";

/** Steps that one token of an answer, or one mask, may cost: some tenths of a second. */
export const COST_MAX = 1_500_000;

/**
 * The cost of a token or a mask, counted where stacks are moved and made. An answer that can be read in too many ways
 * is the mistake of the schema's author: it is refused, and nobody else waits for it longer than this bound.
 */
export class Cost {
  #steps = 0;
  #max = COST_MAX;

  /** Steps of the token or mask in progress. */
  get steps(): number {
    return this.#steps;
  }

  begin(max: number): void {
    this.#steps = 0;
    this.#max = max;
  }

  add(steps: number): void {
    this.#steps += steps;
    if (this.#steps > this.#max) throw refusedAt("", TOO_MANY_WAYS);
  }
}
