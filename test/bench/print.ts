import type { Row } from "./bench.ts";
import type { Result } from "./results.ts";
import { summary, verdictOf } from "./stats.ts";

/** One figure on one line, what it is held against behind it. */
export function renderRow(row: Row): string {
  const { key, unit, figures, yardstick, ratios, goal, note } = row;
  if (figures.length === 0) return `  ${key.padEnd(KEY_WIDTH)} ${note}`;
  const parts = [quantity(summary(figures).median, unit).padStart(14)];
  if (yardstick !== undefined) parts.push(`${yardstick.name} ${quantity(summary(yardstick.figures).median, unit)}`);
  if (ratios === undefined && figures.length > 1) parts.push(`(${spread(figures, (value) => quantity(value, unit))})`);
  if (ratios !== undefined)
    parts.push(`ratio ${summary(ratios).median.toPrecision(3)} (${spread(ratios, (value) => value.toPrecision(3))})`);
  if (goal !== undefined) {
    const [sign, bound] = "atLeast" in goal ? [">=", goal.atLeast] : ["<=", goal.atMost];
    parts.push(`goal ${sign} ${ratios === undefined ? quantity(bound, unit) : bound}: ${verdictOf(row)}`);
  }
  if (note !== undefined) parts.push(note);
  return `  ${key.padEnd(KEY_WIDTH)} ${parts.join("  ")}`;
}

const KEY_WIDTH = 28;

const spread = (values: readonly number[], show: (value: number) => string): string => {
  const { min, max } = summary(values);
  return `${show(min)} to ${show(max)}`;
};

/** What moved against older results: rows of both, by how much, and those that only one of them has. */
export function renderComparison(before: ReadonlyMap<string, Result>, now: readonly Result[]): string {
  const lines = now.map((result) => {
    const old = before.get(result.key);
    if (old === undefined) return `  ${result.key.padEnd(KEY_WIDTH)} new`;
    const [was, is, what] =
      old.ratio !== null && result.ratio !== null ? [old.ratio, result.ratio, "ratio"] : [old.median, result.median, result.unit];
    const change = was === 0 ? 0 : (100 * (is - was)) / Math.abs(was);
    const moved = old.verdict === result.verdict ? "" : `  ${old.verdict || "-"} -> ${result.verdict || "-"}`;
    return `  ${result.key.padEnd(KEY_WIDTH)} ${what} ${was.toPrecision(4)} -> ${is.toPrecision(4)} (${change >= 0 ? "+" : ""}${change.toFixed(1)} %)${moved}`;
  });
  const measured = new Set(now.map(({ key }) => key));
  const left = [...before.keys()].filter((key) => !measured.has(key));
  if (left.length > 0) lines.push(`  not measured now: ${left.join(", ")}`);
  return lines.join("\n");
}

const prefixes = ["", "k", "M", "G", "T"] as const;

/** Three digits, with a prefix for what is counted per second or in bytes. */
export function quantity(value: number, unit: string): string {
  const scaled = /^(B|OP|FLOP|B\/s|OP\/s|FLOP\/s)$/.test(unit);
  let step = 0;
  while (scaled && value >= 1_000 && step < prefixes.length - 1) {
    value /= 1_000;
    step++;
  }
  const digits = Math.abs(value) >= 1_000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3)));
  return `${digits} ${prefixes[step]}${unit}`.trimEnd();
}
