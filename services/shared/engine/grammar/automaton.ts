import { common, type Range, within } from "./characters.ts";
import type { Pattern } from "./pattern-syntax.ts";
import { Ways } from "./ways.ts";

/** Parts of a pattern, each counted as often as it is repeated. */
const PARTS_MAX = 3_000;
export const PATTERN_STATES_MAX = 1_000;
/** Ranges and parts visited while all automata of a schema are made and minimised: a second or two. */
const LOOKS_MAX = 2_000_000;

/** A deterministic automaton. It starts in its first state. */
export type Automaton = readonly AutomatonState[];
export interface AutomatonState {
  readonly accepts: boolean;
  readonly steps: readonly Move[];
}
export interface Move {
  readonly ranges: readonly Range[];
  readonly to: number;
}

/** Throws an error whose message says what is wrong with the pattern. */
export function automatonOf(pattern: Pattern, effort: Effort): Automaton {
  const parts = new Parts();
  const start = parts.add();
  const end = parts.through(pattern, start);
  return explore(parts.closed([start]), (states) => {
    const moves = states.flatMap((state) => parts.moves(state));
    const bounds = [...new Set(moves.flatMap(({ ranges }) => ranges.flatMap(([first, last]) => [first, last + 1])))].sort((a, b) => a - b);
    effort.spend(bounds.length * moves.reduce((sum, { ranges }) => sum + ranges.length, 0));
    const steps = bounds.flatMap((first, i) => {
      const to = moves.filter(({ ranges }) => ranges.some((range) => range[0] <= first && first <= range[1])).map(({ to }) => to);
      if (to.length === 0) return [];
      const closed = parts.closed(to);
      effort.spend(closed.length);
      return [{ range: [first, bounds[i + 1]! - 1] as const, to: closed }];
    });
    return { accepts: states.includes(end), steps };
  });
}

/** Work spent on the automata of one schema, and its bound. */
export class Effort {
  #looks = 0;

  spend(looks: number): void {
    this.#looks += looks;
    if (this.#looks > LOOKS_MAX) throw new Error("is more complicated than is supported, alone or with the patterns before it");
  }
}

/** The intersection: accepts what both accept. */
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

/**
 * Builds the automaton of all states reachable from `start`. Each state stands for the set of numbers it is made of.
 */
function explore(start: readonly number[], see: (made: readonly number[]) => Seen): Automaton {
  const numbers = new Map<string, number>([[String(start), 0]]);
  const waiting = [start];
  const states: AutomatonState[] = [];
  for (let made = waiting.shift(); made !== undefined; made = waiting.shift()) {
    const { accepts, steps } = see(made);
    const moves = new Map<number, Range[]>();
    for (const { range, to } of steps) {
      const number = numbers.get(String(to)) ?? numbers.size;
      if (number === numbers.size) waiting.push(to);
      numbers.set(String(to), number);
      moves.set(number, [...(moves.get(number) ?? []), range]);
    }
    if (numbers.size > PATTERN_STATES_MAX * 2) throw new Error(TOO_MANY);
    states.push({ accepts, steps: [...moves].map(([to, ranges]) => ({ ranges: within(ranges), to })) });
  }
  return states;
}

export const TOO_MANY = `makes more than the ${PATTERN_STATES_MAX} states that are supported`;

/** A nondeterministic automaton whose states are the parts of a pattern. */
class Parts extends Ways<Pattern> {
  readonly #free: number[][] = [];
  readonly #moves: Move[][] = [];

  add(): number {
    if (this.#free.length >= PARTS_MAX)
      throw new Error(`has more than the ${PARTS_MAX} parts that are supported, counted as often as they are repeated`);
    this.#moves.push([]);
    return this.#free.push([]) - 1;
  }

  moves = (part: number): readonly Move[] => this.#moves[part]!;

  free(from: number, to: number): void {
    this.#free[from]!.push(to);
  }

  through(pattern: Pattern, from: number): number {
    if (pattern.kind === "all") return pattern.parts.reduce((end, part) => this.through(part, end), from);
    if (pattern.kind === "repeat") return this.repeat(pattern, from);
    const end = this.add();
    if (pattern.kind === "set") this.#moves[from]!.push({ ranges: pattern.ranges, to: end });
    else for (const choice of pattern.choices) this.free(this.through(choice, this.behind(from)), end);
    return end;
  }

  /** The parts, and those reached from them without a character (epsilon closure). */
  closed(parts: readonly number[]): readonly number[] {
    const reached = new Set(parts);
    for (const part of reached) for (const next of this.#free[part]!) reached.add(next);
    return [...reached].sort((a, b) => a - b);
  }
}
