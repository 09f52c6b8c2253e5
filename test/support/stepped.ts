import type { Drawn, Sealed, StepResult } from "../../services/shared/engine/engine.ts";

/** The result of a sequence that stepped without a draft; its failure is thrown. */
export function stepped(result: StepResult | undefined): Drawn & { readonly sealed: readonly Sealed[] } {
  if (result === undefined) throw new Error("a step answers for every sequence");
  if ("failed" in result) throw result.failed;
  const [drawn] = result.drawn;
  if (drawn === undefined || result.drawn.length > 1) throw new Error(`${result.drawn.length} tokens were drawn without a draft`);
  return { ...drawn, sealed: result.sealed };
}
