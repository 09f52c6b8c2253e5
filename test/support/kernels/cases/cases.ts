import type { Operation } from "../../../../services/shared/engine/kernels.ts";
import type { Case } from "../case.ts";
import type { Draw } from "../random.ts";
import { attentionCases } from "./attention.ts";
import { hyperCases } from "./hyper.ts";
import { rowsCases } from "./rows.ts";
import { storedCases } from "./stored.ts";
import { weightsCases } from "./weights.ts";

export type Cases = Readonly<Partial<Record<Operation, (draw: Draw) => Case>>>;

/**
 * Random cases by operation: small and odd shapes as well as some that fill several vector blocks; every layout and
 * weight format.
 */
export const cases: Readonly<Record<Operation, (draw: Draw) => Case>> = {
  ...rowsCases,
  ...hyperCases,
  ...storedCases,
  ...weightsCases,
  ...attentionCases,
};
