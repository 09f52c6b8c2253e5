import type { Allowed } from "../../services/shared/engine/engine.ts";

/** The ids below `vocabSize` that may follow. */
export const allowedIds = (allowed: Allowed, vocabSize: number): number[] =>
  Array.from({ length: vocabSize }, (_, id) => id).filter((id) => ((allowed[id >>> 5]! >>> (id & 31)) & 1) === 1);
