import { ServingError } from "../../runtime/errors.ts";
import type { Allowed } from "../engine.ts";
import type { Request } from "./thread.ts";

/** Ids in one call: some milliseconds with an ordinary schema, a second where each id is read in hundreds of ways. */
const IDS_MAX = 256;
/** How often an answer is begun in a thread before it is given up. */
const BEGUN_MAX = 4;

/** What an answer is held to. */
export interface Constraint {
  /** JSON Schema, as JSON; schema.ts says which part of it is supported. */
  readonly schema: string;
  /** The schema holds after the first of these tokens; absent: from the beginning. */
  readonly after?: number;
  /**
   * Ids that may stand in place of a value's beginning, and with which no value begins. After them an answer is free.
   */
  readonly instead?: readonly number[];
  /**
   * How many of these, from the first on, are whitespace: a value may begin after each of them as well. Absent: none.
   */
  readonly blank?: number;
}

/** Resolves to no masks if more ids are to come, and to null if the thread does not know the answer. */
type Call = (request: DistributiveOmit<Extract<Request, { kind: "open" | "next" }>, "answer">) => Promise<readonly Allowed[] | null>;
type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;

/** What may follow an answer, from its ids alone: after a takeover, ask with the ids in the log. One call at a time. */
export class Following {
  readonly #constraint: Constraint;
  readonly #call: Call;
  readonly #forget: () => void;
  readonly #vocabSize: number;
  #busy = false;
  #closed = false;
  /** Index of the first id that is held to the schema; null until it has come. */
  #from: number | null;
  /** How many ids have been searched for the token that starts it. */
  #looked = 0;
  /** How many ids the thread knows; null: it does not know the answer. */
  #known: number | null = null;

  constructor(constraint: Constraint, vocabSize: number, call: Call, forget: () => void) {
    this.#constraint = constraint;
    this.#vocabSize = vocabSize;
    this.#call = call;
    this.#forget = forget;
    this.#from = constraint.after === undefined ? 0 : null;
  }

  /**
   * `ids`: the answer so far, as in earlier calls and maybe longer.
   * Resolves to null if any id may follow. Rejects with INVALID_REQUEST if none may.
   */
  async allowed(ids: readonly number[]): Promise<Allowed | null> {
    return (await this.ahead(ids, []))[0]!;
  }

  /** What may follow `ids`, and each id of a draft that may come next, as far as known. The draft is not taken. */
  async ahead(ids: readonly number[], draft: readonly number[]): Promise<readonly [Allowed | null, ...(Allowed | null)[]]> {
    this.#from ??= this.#beginsBehind(ids, this.#constraint.after!);
    if (this.#from === null) return [null, ...free(until(draft, this.#constraint.after!))];
    const { instead = [], blank = 0 } = this.#constraint;
    const has = commonLength(instead, ids, this.#from);
    if (has > blank && has === instead.length) return [null, ...free(draft)];
    if (has > blank) return [withId(new Uint32Array(Math.ceil(this.#vocabSize / 32)), instead[has]!)];
    const begins = this.#from + has;
    if (this.#known !== null) this.#known = Math.max(this.#known, begins); // the thread need not know the ids before the value
    const next = ids.length === begins ? instead[has] : undefined;
    const [allowed, ...behind] = await this.#held(ids, begins, next === undefined ? draft : []);
    return [next === undefined ? allowed! : withId(allowed!, next), ...behind];
  }

  async #held(ids: readonly number[], from: number, draft: readonly number[]): Promise<readonly Allowed[]> {
    this.#busy = true;
    try {
      return await this.#told(ids, from, draft);
    } finally {
      this.#busy = false;
      if (this.#closed) this.#forget();
    }
  }

  /** The thread forgets the answer, after any call in progress. */
  close(): void {
    this.#closed = true;
    if (!this.#busy) this.#forget();
  }

  /**
   * Sends some ids at a time, so that other calls come between;
   * all from the beginning if the thread was started anew and does not know the answer.
   */
  async #told(ids: readonly number[], from: number, draft: readonly number[]): Promise<readonly Allowed[]> {
    for (let begun = 0; begun < BEGUN_MAX; ) {
      const known = this.#known;
      const end = Math.min((known ?? from) + IDS_MAX, ids.length);
      const last = draft.length > 0 ? { draft } : {};
      const part = { ids: ids.slice(known ?? from, end), ...(end < ids.length ? { more: true as const } : last) };
      if (known === null) begun++;
      this.#known = null;
      const allowed = await this.#call(
        known === null ? { kind: "open", schema: this.#constraint.schema, ...part } : { kind: "next", ...part },
      );
      if (allowed === null) continue;
      this.#known = end;
      if (end === ids.length) return allowed;
    }
    throw new ServingError("UNAVAILABLE", "the grammars were started anew too often while an answer was read");
  }

  /** Searches only the new ids: searching 32,000 takes 40 us, a twentieth of a small model's step. */
  #beginsBehind(ids: readonly number[], after: number): number | null {
    const at = ids.indexOf(after, this.#looked);
    this.#looked = ids.length;
    return at < 0 ? null : at + 1;
  }
}

/** Any id may follow each of these. */
const free = (draft: readonly number[]): null[] => draft.map(() => null);

/** The ids before the first `id`. */
const until = (draft: readonly number[], id: number): readonly number[] => (draft.includes(id) ? draft.slice(0, draft.indexOf(id)) : draft);

/** Length of the longest prefix of `beginning` that `ids` has at `from`. */
function commonLength(beginning: readonly number[], ids: readonly number[], from: number): number {
  const differs = beginning.findIndex((id, i) => ids[from + i] !== id);
  return differs < 0 ? beginning.length : differs;
}

function withId(allowed: Allowed, id: number): Allowed {
  allowed[id >> 5]! |= 1 << (id & 31);
  return allowed;
}
