import type { Goal, Row } from "./bench.ts";

export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** Of at least one value. */
export function summary(values: readonly number[]): Summary {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, min: sorted[0]!, max: sorted.at(-1)! };
}

/** The value below which a share of all values lies. */
export const quantile = (values: readonly number[], share: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(share * values.length))]!;

export type Verdict = "holds" | "misses" | "not run" | "";

/** Whether the median meets the goal. */
export function verdictOf({ figures, ratios, goal }: Pick<Row, "figures" | "ratios" | "goal">): Verdict {
  if (figures.length === 0) return "not run";
  if (goal === undefined) return "";
  return meets(summary(ratios ?? figures).median, goal) ? "holds" : "misses";
}

const meets = (value: number, goal: Goal): boolean => ("atLeast" in goal ? value >= goal.atLeast : value <= goal.atMost);
