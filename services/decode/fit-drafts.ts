import type { StepInput } from "../shared/engine/engine.ts";
import type { Draft } from "./prompt-lookup.ts";
import type { StepCost } from "./step-cost.ts";

/** What a sequence would run in the next step, and what it could run ahead. */
export interface Offer {
  readonly input: Omit<StepInput, "draft">;
  readonly draft: Draft | null;
}

/**
 * The step with as much of the drafts as pays: the likeliest id first, as long as the step then brings no fewer tokens a second (spec 9.2,
 * scheduling; the chance of an id is that of all before it and its own). At most `tokensMax` tokens in all.
 */
export function fitDrafts(offers: readonly Offer[], cost: StepCost, tokensMax: number): StepInput[] {
  const lengths = offers.map(() => 0);
  const chances = offers.map(({ draft }) => (draft === null || draft.ids.length === 0 ? 0 : draft.chance));
  let expected = offers.length;
  for (let tokens = offers.length; tokens < tokensMax; tokens++) {
    const best = chances.indexOf(Math.max(...chances));
    const chance = chances[best]!;
    if (chance === 0 || chance * cost.of(tokens) < expected * cost.more) break;
    const { ids, chance: each } = offers[best]!.draft!;
    expected += chance;
    chances[best] = ++lengths[best]! < ids.length ? chance * each : 0;
  }
  return offers.map(({ input, draft }, i) => (lengths[i] === 0 ? input : { ...input, draft: draft!.ids.slice(0, lengths[i]) }));
}
