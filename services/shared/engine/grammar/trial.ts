import { COST_MAX } from "./cost.ts";
import type { Masks } from "./masks.ts";
import type { Network, State } from "./network.ts";

/** Half of what a mask may cost: other values may be open beside these strings, and later characters cost more than the first. */
const TRIED_COST_MAX = COST_MAX / 2;
/** For all trials of a schema: a second or two. */
const TRIALS_COST_MAX = 4 * COST_MAX;
/** States looked at for which strings begin there. */
const LOOKS_MAX = 1_000_000;
/** Strings that can stand beside each other, whatever they are. */
const FEW = 4;
const QUOTE = 0x22;

/**
 * INVALID_REQUEST where strings may begin at one place that differ in so many ways that a token costs too much, so that who sent the schema hears of
 * it before an answer is begun. It goes as far as its own bounds: what is missed here is refused where a token costs too much.
 */
export function tryTexts(network: Network, masks: Masks): void {
  let cost = 0;
  for (const quotes of textsTogether(network).sort((a, b) => b.length - a.length)) {
    if (cost > TRIALS_COST_MAX) return;
    masks.begin(TRIED_COST_MAX);
    masks.after(masks.reader.step(masks.reader.at(quotes), QUOTE)!);
    cost += masks.reader.cost.steps;
  }
}

/** Before the first quotes of strings that may begin where one has just got to, for each place where these are not few. */
function textsTogether({ states, start }: Network): number[][] {
  const before = leadingFreely(states);
  const quotes = [...states.keys()].filter((state) => isQuote(states[state]!, states));
  const together = new Map<number, number[]>();
  let looks = 0;
  for (const quote of quotes) {
    const reached = new Set([quote]);
    for (const state of reached) {
      if (++looks > LOOKS_MAX) return [];
      for (const one of before[state]!) reached.add(one); // a set goes on to what is added to it
      const those = together.get(state);
      if (those === undefined) together.set(state, [quote]);
      else those.push(quote);
    }
  }
  const arrived = new Set([start, ...states.flatMap(({ moves }) => moves.map(({ to }) => to))]);
  const several = [...together].filter(([state, those]) => those.length > FEW && arrived.has(state)).map(([, those]) => those);
  return [...new Map(several.map((those) => [String(those), those])).values()];
}

/** Whether a string begins behind its byte that is held to something. */
const isQuote = ({ moves }: State, states: readonly State[]): boolean =>
  moves.some(({ to }) => states[to]!.calls.some(({ start }) => states[start]!.text !== null));

/** For each state those from which it is reached without a byte. */
function leadingFreely(states: readonly State[]): number[][] {
  const before = states.map((): number[] => []);
  for (const [i, { free, calls }] of states.entries()) {
    for (const to of free) before[to]!.push(i);
    for (const { start } of calls) before[start]!.push(i);
  }
  return before;
}
