import type { State } from "./network.ts";

/** Drops what leads to no end of its rule; a state that leads to none becomes undefined. Sets `isLast` of the calls. */
export function pruned(states: readonly State[]): ReadonlyArray<State | undefined> {
  const live = alive(states);
  const kept = live.includes(0) ? states.map((state) => withoutDead(state, live)) : states;
  return kept.map((state, i) => (live[i] === 0 ? undefined : state.calls.length === 0 ? state : lastMarked(state, kept)));
}

/** 1 for each state from which the end of its rule can be reached. */
function alive(states: readonly State[]): Uint8Array {
  const live = new Uint8Array(states.length);
  const before = states.map((): number[] => []);
  const found: number[] = [];
  for (const [i, { moves, free, calls, ends }] of states.entries()) {
    for (const { to } of moves) before[to]!.push(i);
    for (const to of free) before[to]!.push(i);
    for (const { start, back } of calls) {
      before[start]!.push(i);
      before[back]!.push(i);
    }
    if (ends) found.push(i);
  }
  const isLive = ({ ends, moves, free, calls }: State) =>
    ends ||
    moves.some(({ to }) => live[to] === 1) ||
    free.some((to) => live[to] === 1) ||
    calls.some(({ start, back }) => live[start] === 1 && live[back] === 1);
  for (let state = found.pop(); state !== undefined; state = found.pop()) {
    if (live[state] === 1 || !isLive(states[state]!)) continue;
    live[state] = 1;
    found.push(...before[state]!);
  }
  return live;
}

const withoutDead = (state: State, live: Uint8Array): State => ({
  ...state,
  moves: state.moves.filter(({ to }) => live[to] === 1),
  free: state.free.filter((to) => live[to] === 1),
  calls: state.calls.filter(({ start, back }) => live[start] === 1 && live[back] === 1),
});

const lastMarked = (state: State, states: readonly State[]): State => ({
  ...state,
  calls: state.calls.map((call) => ({ ...call, isLast: isLast(call.back, states) })),
});

/** Whether nothing is left of the rule after `state`. */
function isLast(state: number, states: readonly State[]): boolean {
  for (let at = state; ; at = states[at]!.free[0]!) {
    const { moves, free, calls, ends } = states[at]!;
    if (moves.length > 0 || calls.length > 0 || free.length !== (ends ? 0 : 1)) return false;
    if (ends) return true;
  }
}
