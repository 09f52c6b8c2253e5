import type { StepInput } from "../shared/engine/engine.ts";
import type { Draft } from "./prompt-lookup.ts";
import type { StepCost } from "./step-cost.ts";

/** What a sequence would run in the next step, and what it could run ahead. */
export interface Offer {
  readonly input: Omit<StepInput, "draft">;
  readonly draft: Draft | null;
}

/** How much slower a sequence may come on, for the drafts of others. */
const SLOWER = 1.2;

/** The step with as much of the drafts as pays. At most `tokensMax` tokens in all. */
export function fitDrafts(offers: readonly Offer[], cost: StepCost, tokensMax: number): StepInput[] {
  const lengths = worthwhile(
    offers.map(({ draft }) => draft),
    cost,
    tokensMax,
  );
  return offers.map(({ input: { allowed, ...input }, draft }, i) => ({
    ...input,
    ...(allowed && { allowed: allowed.slice(0, lengths[i]! + 1) }),
    ...(lengths[i]! > 0 && { draft: draft!.ids.slice(0, lengths[i]) }),
  }));
}

/**
 * How many ids of each sequence's draft to run: the likeliest first, as long as the step then brings no fewer tokens a second (spec 9.2,
 * scheduling; the chance of an id is that of all before it and its own), and as far as nobody is expected to lose much by it.
 */
export function worthwhile(drafts: readonly (Draft | null)[], cost: StepCost, tokensMax: number): readonly number[] {
  const lengths = drafts.map(() => 0);
  const chances = drafts.map((draft) => (draft === null || draft.ids.length === 0 ? 0 : draft.chance));
  const expected = drafts.map(() => 1);
  let all = drafts.length;
  let fair: readonly number[] = [...lengths];
  for (let tokens = drafts.length; tokens < tokensMax; tokens++) {
    const best = chances.indexOf(Math.max(...chances));
    const chance = chances[best]!;
    if (chance === 0 || chance * cost.of(tokens) < all * cost.more) break;
    const { ids, chance: each } = drafts[best]!;
    all += chance;
    expected[best]! += chance;
    chances[best] = ++lengths[best]! < ids.length ? chance * each : 0;
    if (cost.of(tokens + 1) <= SLOWER * cost.of(drafts.length) * Math.min(...expected)) fair = [...lengths];
  }
  return fair;
}
