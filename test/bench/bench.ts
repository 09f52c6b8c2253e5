import type { Machine } from "./machine.ts";

/** One group of figures. Says what it needs and lacks in rows; what it throws is an error of the bench. */
export interface Bench {
  readonly name: string;
  readonly about: string;
  /** How long it may begin new measurements; absent: as long as any. */
  readonly seconds?: number;
  run(scene: Scene): Promise<void>;
}

/** What a bench is given, and where its rows go. */
export interface Scene {
  readonly machine: Machine;
  /** Measurements of each figure: 5, and as many as the bench's time allows. */
  readonly repeats: number;
  /** Sizes for a look at the bench itself: the figures mean nothing. */
  readonly tiny: boolean;
  /** True once the bench's time is used up: one measurement under way is finished, no other begins. */
  readonly late: () => boolean;
  /** What is being done now. */
  say(text: string): void;
  report(row: Row): void;
}

export type Goal = { readonly atLeast: number } | { readonly atMost: number };

/** A figure beside the limit it is held against, measured by turns in one run. */
export interface Row {
  /** Stable: results are compared by it. */
  readonly key: string;
  readonly unit: string;
  /** One for each measurement; none where it was not run. */
  readonly figures: readonly number[];
  readonly yardstick?: { readonly name: string; readonly figures: readonly number[] };
  /** Figure and yardstick of each measurement in one number, the way the goal counts it. */
  readonly ratios?: readonly number[];
  /** Of the ratio where there is one, else of the figure. */
  readonly goal?: Goal;
  /** Why it was not run, or what belongs beside the figure. */
  readonly note?: string;
}

export const notRun = (key: string, reason: string): Row => ({ key, unit: "", figures: [], note: `not run: ${reason}` });

/** As many measurements as the scene asks for and its time allows, at least one. */
export async function repeated<T>(scene: Scene, label: string, once: () => Promise<T>): Promise<T[]> {
  const all: T[] = [];
  while (all.length < scene.repeats && (all.length === 0 || !scene.late())) {
    scene.say(`${label} ${all.length + 1}/${scene.repeats}`);
    all.push(await once());
  }
  return all;
}

/** Measures figure and yardstick by turns, so that what else the machine does meets both. */
export async function byTurns(
  scene: Scene,
  label: string,
  figure: () => Promise<number>,
  yardstick: () => Promise<number>,
): Promise<{ figures: number[]; yardsticks: number[] }> {
  const turns = await repeated(scene, label, async () => ({ yardstick: await yardstick(), figure: await figure() }));
  return { figures: turns.map((turn) => turn.figure), yardsticks: turns.map((turn) => turn.yardstick) };
}

/** Rates (more is better) as a share of the yardstick's. */
export async function rateRow(
  scene: Scene,
  { key, unit, goal, note, name }: { key: string; unit: string; goal?: Goal; note?: string; name: string },
  figure: () => Promise<number>,
  yardstick: () => Promise<number>,
): Promise<void> {
  const { figures, yardsticks } = await byTurns(scene, key, figure, yardstick);
  scene.report({
    key,
    unit,
    figures,
    yardstick: { name, figures: yardsticks },
    ratios: figures.map((value, i) => value / yardsticks[i]!),
    ...(goal === undefined ? {} : { goal }),
    ...(note === undefined ? {} : { note }),
  });
}

/** Seconds that `work` takes. */
export async function secondsOf(work: () => unknown): Promise<number> {
  const start = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - start) / 1e9;
}
