import { COST_MAX } from "./cost.ts";
import type { Masks } from "./masks.ts";
import type { Network, State } from "./network.ts";

/**
 * Half of a mask's bound: other values may be open beside these strings, and later characters cost more than the first.
 */
const TRIED_COST_MAX = COST_MAX / 2;
/** For all trials of a schema together: a second or two. */
const TRIALS_COST_MAX = 4 * COST_MAX;
/** States visited to find the strings that may begin there. */
const LOOKS_MAX = 1_000_000;
/** Strings that may begin at one place without a trial, whatever they are. */
const FEW = 4;
const QUOTE = 0x22;

/**
 * Throws INVALID_REQUEST if strings that may begin at one place differ in so many ways
 * that a token costs too much, so that the schema's author hears of it before an answer
 * begins. Its own work is bounded: what it misses is refused where a token costs too much.
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

/**
 * States before the opening quotes of the strings that may begin at one place, for each place that a byte leads to and
 * where they are more than a few.
 */
function textsTogether({ states, start }: Network): number[][] {
  const before = leadingFreely(states);
  const quotes = [...states.keys()].filter((state) => isQuote(states[state]!, states));
  const together = new Map<number, number[]>();
  let looks = 0;
  for (const quote of quotes) {
    const reached = new Set([quote]);
    for (const state of reached) {
      if (++looks > LOOKS_MAX) return [];
      for (const one of before[state]!) reached.add(one); // a set iterates over what is added to it
      const those = together.get(state);
      if (those === undefined) together.set(state, [quote]);
      else those.push(quote);
    }
  }
  const arrived = new Set([start, ...states.flatMap(({ moves }) => moves.map(({ to }) => to))]);
  const several = [...together].filter(([state, those]) => those.length > FEW && arrived.has(state)).map(([, those]) => those);
  return [...new Map(several.map((those) => [String(those), those])).values()];
}

/** Whether a string with constraints begins after the state's byte. */
const isQuote = ({ moves }: State, states: readonly State[]): boolean =>
  moves.some(({ to }) => states[to]!.calls.some(({ start }) => states[start]!.text !== null));

/** For each state, the states that lead to it without a byte. */
function leadingFreely(states: readonly State[]): number[][] {
  const before = states.map((): number[] => []);
  for (const [i, { free, calls }] of states.entries()) {
    for (const to of free) before[to]!.push(i);
    for (const { start } of calls) before[start]!.push(i);
  }
  return before;
}
