import { common, type Range, within } from "./characters.ts";
import type { Pattern } from "./pattern-syntax.ts";

/** Parts of a pattern, counted as often as they are repeated. */
const PARTS_MAX = 3_000;
const STATES_MAX = 400;
/** Ranges and parts looked at while one is made, and again while it is made smaller: a second or two each. */
const LOOKS_MAX = 1_000_000;
/** States that take characters beyond ASCII cost the compiler some 60 ms with 129,280 tokens, others some 7. */
const WIDE_COST = 8;

/** A deterministic one, whose first state is where it begins. */
export type Automaton = readonly State[];
interface State {
  readonly accepts: boolean;
  readonly steps: readonly Move[];
}
interface Move {
  readonly ranges: readonly Range[];
  readonly to: number;
}

/** Throws an error whose message says what is wrong with the pattern. */
export function automatonOf(pattern: Pattern): Automaton {
  const parts = new Parts();
  const start = parts.add();
  const end = parts.pattern(pattern, start);
  let looks = 0;
  return explore(parts.closed([start]), (states) => {
    const moves = states.flatMap((state) => parts.moves(state));
    const bounds = [...new Set(moves.flatMap(({ ranges }) => ranges.flatMap(([first, last]) => [first, last + 1])))].sort((a, b) => a - b);
    looks += bounds.length * moves.reduce((sum, { ranges }) => sum + ranges.length, 0);
    requireLooks(looks);
    const steps = bounds.flatMap((first, i) => {
      const to = moves.filter(({ ranges }) => ranges.some((range) => range[0] <= first && first <= range[1])).map(({ to }) => to);
      if (to.length === 0) return [];
      const closed = parts.closed(to);
      looks += closed.length;
      return [{ range: [first, bounds[i + 1]! - 1] as const, to: closed }];
    });
    return { accepts: states.includes(end), steps };
  });
}

function requireLooks(looks: number): void {
  if (looks > LOOKS_MAX) throw new Error("is more complicated than is supported");
}

/** What it costs the compiler, in states that take nothing beyond ASCII. */
export const costOf = (states: Automaton): number =>
  states.reduce((sum, { steps }) => sum + (steps.some(({ ranges }) => ranges.some(([, last]) => last > 0x7f)) ? WIDE_COST : 1), 0);

/** What both take. */
export function both(one: Automaton, other: Automaton): Automaton {
  return explore([0, 0], ([a, b]) => ({
    accepts: one[a!]!.accepts && other[b!]!.accepts,
    steps: one[a!]!.steps.flatMap((x) =>
      other[b!]!.steps.flatMap((y) =>
        x.ranges.flatMap((range) => y.ranges.flatMap((bounds) => common(range, bounds).map((range) => ({ range, to: [x.to, y.to] })))),
      ),
    ),
  }));
}

type Seen = { readonly accepts: boolean; readonly steps: ReadonlyArray<{ readonly range: Range; readonly to: readonly number[] }> };

/** From what states are made of, as far as they lead. */
function explore(start: readonly number[], see: (made: readonly number[]) => Seen): Automaton {
  const numbers = new Map<string, number>([[String(start), 0]]);
  const waiting = [start];
  const states: State[] = [];
  for (let made = waiting.shift(); made !== undefined; made = waiting.shift()) {
    const { accepts, steps } = see(made);
    const moves = new Map<number, Range[]>();
    for (const { range, to } of steps) {
      const number = numbers.get(String(to)) ?? numbers.size;
      if (number === numbers.size) waiting.push(to);
      numbers.set(String(to), number);
      moves.set(number, [...(moves.get(number) ?? []), range]);
    }
    if (numbers.size > STATES_MAX * 2) throw new Error(TOO_MANY);
    states.push({ accepts, steps: [...moves].map(([to, ranges]) => ({ ranges: within(ranges), to })) });
  }
  return states;
}

const TOO_MANY = `makes more than the ${STATES_MAX} states that are supported`;

/** Without states that lead to no end, and with one for all that take the same. Null: it takes nothing. */
export function smallest(all: Automaton): Automaton | null {
  const live = alive(all);
  if (!live.has(0)) return null;
  let classes = all.map(({ accepts }, i) => (live.has(i) ? Number(accepts) + 1 : 0));
  const size = all.reduce((sum, { steps }) => steps.reduce((sum, { ranges }) => sum + ranges.length, sum + 1), 0);
  let looks = 0;
  for (let count = -1; ; ) {
    looks += size;
    requireLooks(looks);
    const seen = new Map<string, number>();
    const signatures = all.map((state, i) => (live.has(i) ? `${classes[i]} ${described(state, classes, live)}` : ""));
    for (const signature of signatures) if (!seen.has(signature)) seen.set(signature, seen.size); // the first is where it begins
    classes = signatures.map((signature) => seen.get(signature)!);
    if (seen.size === count) break;
    count = seen.size;
  }
  return renumbered(all, classes, live);
}

function described({ steps }: State, classes: readonly number[], live: ReadonlySet<number>): string {
  return [...joined(steps, classes, live)].map(([to, ranges]) => `${to}:${ranges.join(" ")}`).join(";");
}

/** By the classes that they lead to, in their order. */
function joined(steps: readonly Move[], classes: readonly number[], live: ReadonlySet<number>): Array<[number, readonly Range[]]> {
  const ranges = new Map<number, Range[]>();
  for (const step of steps)
    if (live.has(step.to)) ranges.set(classes[step.to]!, [...(ranges.get(classes[step.to]!) ?? []), ...step.ranges]);
  return [...ranges].map(([to, those]): [number, readonly Range[]] => [to, within(those)]).sort(([a], [b]) => a - b);
}

function renumbered(all: Automaton, classes: readonly number[], live: ReadonlySet<number>): Automaton {
  const numbers = new Map([...new Set(classes.filter((_, i) => live.has(i)))].map((one, number) => [one, number]));
  if (numbers.size > STATES_MAX) throw new Error(TOO_MANY);
  return [...numbers.keys()].map((one) => {
    const { accepts, steps } = all[classes.indexOf(one)]!;
    return { accepts, steps: joined(steps, classes, live).map(([to, ranges]) => ({ ranges, to: numbers.get(to)! })) };
  });
}

/** Those from which an end is reached. */
function alive(all: Automaton): ReadonlySet<number> {
  const from = all.map((): number[] => []);
  for (const [i, { steps }] of all.entries()) for (const { ranges, to } of steps) if (ranges.length > 0) from[to]!.push(i);
  const live = new Set(all.flatMap(({ accepts }, i) => (accepts ? [i] : [])));
  for (const state of live) for (const before of from[state]!) live.add(before); // a set goes on to what is added to it
  return live;
}

/** A nondeterministic automaton, which has a part for each of a pattern. */
class Parts {
  readonly #free: number[][] = [];
  readonly #moves: Move[][] = [];

  add(): number {
    if (this.#free.length >= PARTS_MAX)
      throw new Error(`has more than the ${PARTS_MAX} parts that are supported, counted as often as they are repeated`);
    this.#moves.push([]);
    return this.#free.push([]) - 1;
  }

  moves = (part: number): readonly Move[] => this.#moves[part]!;

  /** Adds what leads through `pattern` from `from`, and gives where it ends. */
  pattern(pattern: Pattern, from: number): number {
    if (pattern.kind === "all") return pattern.parts.reduce((end, part) => this.pattern(part, end), from);
    if (pattern.kind === "repeat") return this.#repeat(pattern, from);
    const end = this.add();
    if (pattern.kind === "set") this.#moves[from]!.push({ ranges: pattern.ranges, to: end });
    else for (const choice of pattern.choices) this.#free[this.pattern(choice, this.#behind(from))]!.push(end);
    return end;
  }

  #behind(from: number): number {
    const part = this.add();
    this.#free[from]!.push(part);
    return part;
  }

  #repeat({ part, least, most }: Extract<Pattern, { kind: "repeat" }>, from: number): number {
    let end = this.#behind(from);
    for (let i = 0; i < least; i++) end = this.#behind(this.pattern(part, end));
    if (most === Number.POSITIVE_INFINITY) {
      this.#free[this.pattern(part, end)]!.push(end);
      return this.#behind(end);
    }
    const last = this.add();
    for (let i = least; i < most; i++) {
      this.#free[end]!.push(last);
      end = this.#behind(this.pattern(part, end));
    }
    this.#free[end]!.push(last);
    return last;
  }

  /** With those that are reached for nothing. */
  closed(parts: readonly number[]): readonly number[] {
    const reached = new Set(parts);
    for (const part of reached) for (const next of this.#free[part]!) reached.add(next);
    return [...reached].sort((a, b) => a - b);
  }
}
