import { type Automaton, type AutomatonState, type Effort, type Move, PATTERN_STATES_MAX, TOO_MANY } from "./automaton.ts";
import { type Range, within } from "./characters.ts";

/** Minimises: drops states that lead to no end, and merges those that accept the same. Null: it accepts nothing. */
export function smallest(all: Automaton, effort: Effort): Automaton | null {
  const live = alive(all);
  if (!live.has(0)) return null;
  let classes = numbered(longestEnds(all, live).map((longest, i) => `${all[i]!.accepts} ${longest}`));
  const size = all.reduce((sum, { steps }) => steps.reduce((sum, { ranges }) => sum + ranges.length, sum + 1), 0);
  for (let count = -1; ; ) {
    effort.spend(size);
    classes = numbered(all.map((state, i) => (live.has(i) ? `${classes[i]} ${described(state, classes, live)}` : "")));
    const now = Math.max(...classes);
    if (now === count) break;
    count = now;
  }
  return renumbered(all, classes, live);
}

/** Numbers for signatures: the same for equal ones; the first is 0. */
function numbered(signatures: readonly string[]): number[] {
  const numbers = new Map<string, number>();
  for (const signature of signatures) if (!numbers.has(signature)) numbers.set(signature, numbers.size);
  return signatures.map((signature) => numbers.get(signature)!);
}

/**
 * The most characters that may follow each state; infinite if these may run through a cycle. As a first signature it
 * tells whole chains apart at once.
 */
function longestEnds(all: Automaton, live: ReadonlySet<number>): number[] {
  const targets = all.map(({ steps }) => new Set(steps.map(({ to }) => to).filter((to) => live.has(to))));
  const before = all.map((): number[] => []);
  for (const [i, those] of targets.entries()) for (const to of those) before[to]!.push(i);
  const longest = all.map(() => Number.POSITIVE_INFINITY);
  const known = [...live].filter((i) => targets[i]!.size === 0);
  for (const state of known) {
    longest[state] = Math.max(-1, ...[...all[state]!.steps].filter(({ to }) => live.has(to)).map(({ to }) => longest[to]!)) + 1;
    for (const i of before[state]!) if (targets[i]!.delete(state) && targets[i]!.size === 0) known.push(i);
  }
  return longest;
}

function described({ steps }: AutomatonState, classes: readonly number[], live: ReadonlySet<number>): string {
  return [...joined(steps, classes, live)].map(([to, ranges]) => `${to}:${ranges.join(" ")}`).join(";");
}

/** Merges steps by the class they lead to, in the order of classes. */
function joined(steps: readonly Move[], classes: readonly number[], live: ReadonlySet<number>): Array<[number, readonly Range[]]> {
  const ranges = new Map<number, Range[]>();
  for (const step of steps)
    if (live.has(step.to)) ranges.set(classes[step.to]!, [...(ranges.get(classes[step.to]!) ?? []), ...step.ranges]);
  return [...ranges].map(([to, those]): [number, readonly Range[]] => [to, within(those)]).sort(([a], [b]) => a - b);
}

function renumbered(all: Automaton, classes: readonly number[], live: ReadonlySet<number>): Automaton {
  const numbers = new Map([...new Set(classes.filter((_, i) => live.has(i)))].map((one, number) => [one, number]));
  if (numbers.size > PATTERN_STATES_MAX) throw new Error(TOO_MANY);
  return [...numbers.keys()].map((one) => {
    const { accepts, steps } = all[classes.indexOf(one)]!;
    return { accepts, steps: joined(steps, classes, live).map(([to, ranges]) => ({ ranges, to: numbers.get(to)! })) };
  });
}

/** States from which an end is reached. */
function alive(all: Automaton): ReadonlySet<number> {
  const from = all.map((): number[] => []);
  for (const [i, { steps }] of all.entries()) for (const { ranges, to } of steps) if (ranges.length > 0) from[to]!.push(i);
  const live = new Set(all.flatMap(({ accepts }, i) => (accepts ? [i] : [])));
  for (const state of live) for (const before of from[state]!) live.add(before); // a set iterates over what is added to it
  return live;
}
