import type { Allowed } from "../../services/shared/engine/engine.ts";
import { type Constraint, Following } from "../../services/shared/engine/grammar/following.ts";
import { ServingError } from "../../services/shared/runtime/errors.ts";
import { EOS, engineOptions } from "../support/model.ts";

const VOCABULARY = engineOptions.vocabSize!;

/** Awaited before a thread answers: it may be slow, or fail. */
type Trouble = () => Promise<void>;

/**
 * Holds answers to a schema that stands for all: after every token a third of all ids, by the schema and by what came
 * before, and always the end. A thread that was restarted (`forgets`) does not know the answers it followed.
 */
export const followed =
  (trouble: Trouble = async () => {}, forgets: () => boolean = () => false) =>
  (constraint: Constraint): Following => {
    let known: number[] | null = null;
    return new Following(
      constraint,
      VOCABULARY,
      async (request) => {
        await trouble();
        if (request.kind === "next" && (known === null || forgets())) return null;
        const before: readonly number[] = request.kind === "open" ? [] : known!;
        known = taken(constraint, before, request.ids);
        return request.more ? [] : masksOf(constraint, known, request.draft ?? []);
      },
      () => {
        known = null;
      },
    );
  };

function taken(constraint: Constraint, before: readonly number[], ids: readonly number[]): number[] {
  const all = [...before];
  for (const id of ids) {
    if (!isAllowed(hashOf(constraint, all), id))
      throw new ServingError("INTERNAL", `token ${id} of the answer is not what its schema allows`);
    all.push(id);
  }
  return all;
}

/** The masks after the answer, and after each id of the draft as far as these are allowed. */
function masksOf(constraint: Constraint, ids: readonly number[], draft: readonly number[]): Allowed[] {
  const comes = draft.findIndex((id, i) => !isAllowed(hashOf(constraint, [...ids, ...draft.slice(0, i)]), id));
  const all = comes < 0 ? draft : draft.slice(0, comes);
  return [ids, ...all.map((_, i) => [...ids, ...all.slice(0, i + 1)])].map((at) => maskOf(constraint, at));
}

function maskOf(constraint: Constraint, ids: readonly number[]): Allowed {
  const mask = new Uint32Array(Math.ceil(VOCABULARY / 32));
  const hash = hashOf(constraint, ids);
  for (let id = 0; id < VOCABULARY; id++) if (isAllowed(hash, id)) mask[id >> 5]! |= 1 << (id & 31);
  return mask;
}

const isAllowed = (hash: number, id: number): boolean => id === EOS || mixed(hash, id) % 3 === 0;

const hashOf = ({ schema }: Constraint, ids: readonly number[]): number => ids.reduce(mixed, schema.length);

const mixed = (a: number, b: number): number => {
  const z = Math.imul(a ^ (b + 0x9e3779b9), 0x85ebca6b);
  return (z ^ (z >>> 15)) >>> 0;
};
