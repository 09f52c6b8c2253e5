import { refusal } from "../runtime/errors.ts";
import type { EngineInfo, StepInput } from "./engine.ts";

/** Tokens a step runs, drafts included. */
export const tokensOf = (batch: readonly StepInput[]): number => batch.reduce((sum, { draft }) => sum + 1 + (draft?.length ?? 0), 0);

/** The checks that every engine makes of a step. Throws INVALID_REQUEST. */
export function checkStep({ batchMax, draftMax }: EngineInfo, batch: readonly StepInput[]): void {
  const tokens = tokensOf(batch);
  if (tokens === 0 || tokens > batchMax) throw refusal(`a step has 1 to ${batchMax} tokens, not ${tokens}`);
  if (new Set(batch.map(({ sequence }) => sequence)).size < batch.length) throw refusal("a sequence occurs twice in one step");
  for (const { draft, allowed } of batch) {
    const length = draft?.length ?? 0;
    if (length > draftMax) throw refusal(`a draft has at most ${draftMax} tokens, not ${length}`);
    if (allowed !== undefined && allowed.length <= length)
      throw refusal(`what may be drawn is told at ${allowed.length} places, and a draft of ${length} tokens has ${length + 1}`);
  }
}
