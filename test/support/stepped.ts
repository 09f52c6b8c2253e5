import type { Stepped, StepResult } from "../../services/shared/engine/engine.ts";

/** The result of a sequence whose step went well; else its failure is thrown. */
export function stepped(result: StepResult | undefined): Stepped {
  if (result === undefined) throw new Error("a step answers for every sequence");
  if ("failed" in result) throw result.failed;
  return result;
}
