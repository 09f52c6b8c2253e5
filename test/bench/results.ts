import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { Row } from "./bench.ts";
import { summary, type Verdict, verdictOf } from "./stats.ts";

/** A row as it is kept: the latest measurement of its key on one kind of machine. */
export interface Result {
  readonly key: string;
  readonly unit: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly runs: number;
  readonly yardstick: string;
  readonly yardstickMedian: number | null;
  readonly ratio: number | null;
  readonly ratioMin: number | null;
  readonly ratioMax: number | null;
  /** ">= 0.5", "<= 1.03", or nothing. */
  readonly goal: string;
  readonly verdict: Verdict;
  readonly date: string;
  readonly commit: string;
  readonly note: string;
}

export function resultOf(row: Row, date: string, commit: string): Result {
  const { key, unit, figures, yardstick, ratios, goal, note = "" } = row;
  const ratio = ratios === undefined ? null : summary(ratios);
  return {
    key,
    unit,
    ...summary(figures),
    runs: figures.length,
    yardstick: yardstick?.name ?? "",
    yardstickMedian: yardstick === undefined ? null : summary(yardstick.figures).median,
    ratio: ratio?.median ?? null,
    ratioMin: ratio?.min ?? null,
    ratioMax: ratio?.max ?? null,
    goal: goal === undefined ? "" : "atLeast" in goal ? `>= ${goal.atLeast}` : `<= ${goal.atMost}`,
    verdict: verdictOf(row),
    date,
    commit,
    note,
  };
}

const columns = {
  key: text,
  unit: text,
  median: number,
  min: number,
  max: number,
  runs: number,
  yardstick: text,
  yardstickMedian: maybe,
  ratio: maybe,
  ratioMin: maybe,
  ratioMax: maybe,
  goal: text,
  verdict: (cell: string) => cell as Verdict,
  date: text,
  commit: text,
  note: text,
} as const satisfies { readonly [Name in keyof Result]: (cell: string) => Result[Name] };

function text(cell: string): string {
  return cell;
}
function number(cell: string): number {
  if (cell === "" || !Number.isFinite(Number(cell))) throw new Error(`"${cell}" is not a number`);
  return Number(cell);
}
function maybe(cell: string): number | null {
  return cell === "" ? null : number(cell);
}

const names = Object.keys(columns) as (keyof Result)[];

/** Rows by key, in the order of the file. A file that is not there has none. */
export function readResults(path: string): Map<string, Result> {
  if (!existsSync(path)) return new Map();
  const [head, ...lines] = readFileSync(path, "utf8").trimEnd().split("\n");
  if (head !== names.join(",")) throw new Error(`${path} does not hold results of the bench: its first line must be ${names.join(",")}`);
  return new Map(lines.map((line) => parseLine(line)).map((result) => [result.key, result]));
}

/** Replaces the rows that were measured and keeps the others. Makes the folder where it is missing. */
export function keepResults(path: string, fresh: readonly Result[]): void {
  mkdirSync(dirname(path), { recursive: true });
  const all = readResults(path);
  for (const result of fresh) all.set(result.key, result);
  const sorted = [...all.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
  writeFileSync(path, `${[names.join(","), ...sorted.map(lineOf)].join("\n")}\n`);
}

const lineOf = (result: Result): string => names.map((name) => cellOf(result[name])).join(",");

/** Six digits are more than a measurement has. */
function cellOf(value: string | number | null): string {
  if (value === null) return "";
  if (typeof value === "number") return String(Number(value.toPrecision(6)));
  return /[",\n]/.test(value) ? `"${value.replaceAll("\n", " ").replaceAll('"', '""')}"` : value;
}

function parseLine(line: string): Result {
  const cells = [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map(
    ([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain!,
  );
  if (cells.length !== names.length) throw new Error(`not a row of results: ${line}`);
  return Object.fromEntries(names.map((name, i) => [name, columns[name](cells[i]!)])) as unknown as Result;
}
