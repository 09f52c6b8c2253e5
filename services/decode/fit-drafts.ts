import type { StepInput } from "../shared/engine/engine.ts";
import type { Draft } from "./prompt-lookup.ts";
import type { StepCost } from "./step-cost.ts";

type Cost = Pick<StepCost, "of">;

/** What a sequence would run in the next step, and what it could run ahead. */
export interface Offer {
  readonly input: Omit<StepInput, "draft">;
  readonly draft: Draft | null;
}

/** How much slower a sequence may come on, for the drafts of others. */
const SLOWER = 1.2;

/** The step with as much of the drafts as pays. At most `tokensMax` tokens in all. */
export function fitDrafts(offers: readonly Offer[], cost: Cost, tokensMax: number): StepInput[] {
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
 * How many ids of each sequence's draft to run: the likeliest first, and as many as bring the most tokens a second (spec 9.2, scheduling; the
 * chance of an id is that of all before it and its own), of those by which nobody is expected to lose much. One more may cost much, and those behind it little.
 */
export function worthwhile(drafts: readonly (Draft | null)[], cost: Cost, tokensMax: number): readonly number[] {
  const lengths = drafts.map(() => 0);
  const chances = drafts.map((draft) => (draft === null || draft.ids.length === 0 ? 0 : draft.chance));
  const expected = drafts.map(() => 1);
  const undrafted = cost.of(drafts.length);
  let all = drafts.length;
  let best = { lengths: [...lengths], all, time: undrafted };
  for (let tokens = drafts.length + 1; tokens <= tokensMax; tokens++) {
    const likeliest = chances.indexOf(Math.max(...chances));
    const chance = chances[likeliest]!;
    if (chance === 0) break;
    const { ids, chance: each } = drafts[likeliest]!;
    all += chance;
    expected[likeliest]! += chance;
    chances[likeliest] = ++lengths[likeliest]! < ids.length ? chance * each : 0;
    const time = cost.of(tokens);
    const isFair = time <= SLOWER * undrafted * Math.min(...expected);
    if (isFair && all * best.time >= best.all * time) best = { lengths: [...lengths], all, time };
  }
  return best.lengths;
}
