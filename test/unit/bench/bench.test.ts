import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";
import { parseKernels } from "../../bench/kernel-table.ts";
import { renderComparison, renderRow } from "../../bench/print.ts";
import { keepResults, type Result, readResults, resultOf } from "../../bench/results.ts";
import { quantile, summary, verdictOf } from "../../bench/stats.ts";
import { program } from "../../support/program.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "longshore-bench-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const bench = (...args: string[]) => promisify(execFile)(process.execPath, [...program("test/bench/run.ts"), "--tiny", ...args]);

const row = {
  key: "a.rate",
  unit: "B/s",
  figures: [3e9, 1e9, 2e9],
  yardstick: { name: "memcpy", figures: [4e9, 4e9, 4e9] },
  ratios: [0.75, 0.25, 0.5],
  goal: { atLeast: 0.5 },
  note: 'says "so", twice',
} as const;
const result = (changes: Partial<Result> = {}): Result => ({ ...resultOf(row, "2026-11-25", "abc"), ...changes });

test("a bench prints its rows, keeps them, and says what moved against older results", async () => {
  const first = await bench("segments", "--results", folder);
  expect(first.stdout).toMatch(/segments\.export\.yardlog .* ratio .* goal >= 0\.5: (holds|misses)/);
  const [file] = readdirSync(folder);
  const keys = [...readResults(join(folder, file!)).keys()];
  expect(keys).toEqual(
    ["export.v4-flash", "export.yardlog", "there-and-back.v4-flash", "there-and-back.yardlog"].map((key) => `segments.${key}`),
  );
  const second = await bench("segments", "--compare", join(folder, file!));
  expect(second.stdout).toMatch(/segments\.export\.yardlog +ratio [\d.]+ -> [\d.]+ \([+-][\d.]+ %\)/);
});

test("a bench that does not exist is an error that says where the names are", async () => {
  await expect(bench("nothing")).rejects.toMatchObject({
    code: 2,
    stderr: expect.stringContaining("no bench nothing; --list names them all"),
  });
});

test("results come back from the file as they were, others of the same file stay, and the file is sorted by key", () => {
  const path = join(folder, "results.csv");
  keepResults(path, [result(), result({ key: "z", ratio: null, yardstickMedian: null })]);
  keepResults(path, [result({ key: "b" }), result({ median: 7 })]);
  const kept = readResults(path);
  expect([...kept.keys()]).toEqual(["a.rate", "b", "z"]);
  expect(kept.get("a.rate")).toEqual(result({ median: 7 }));
  expect(kept.get("z")).toMatchObject({ ratio: null, yardstickMedian: null, note: row.note });
});

test("a file that does not hold results is refused by name", () => {
  const path = join(folder, "other.csv");
  writeFileSync(path, "a,b\n1,2\n");
  expect(() => readResults(path)).toThrow(`${path} does not hold results of the bench`);
  expect(readFileSync(path, "utf8")).toBe("a,b\n1,2\n");
});

test("a row shows the median of its ratios, how far they spread, and whether the goal holds", () => {
  expect(renderRow(row)).toMatch(
    /a\.rate +2 GB\/s {2}memcpy 4 GB\/s {2}ratio 0\.500 \(0\.250 to 0\.750\) {2}goal >= 0\.5: holds {2}says "so", twice/,
  );
  expect(renderRow({ key: "amx", unit: "", figures: [], note: "not run: no AMX" })).toMatch(/^ {2}amx +not run: no AMX$/);
});

test("a comparison shows changes in ratios where both have one, verdicts that changed, and rows that only one side has", () => {
  const before = new Map([result(), result({ key: "gone" })].map((old) => [old.key, old]));
  const text = renderComparison(before, [result({ ratio: 0.4, verdict: "misses" }), result({ key: "fresh" })]);
  expect(text.split("\n").map((line) => line.trim().replace(/ +/g, " "))).toEqual([
    "a.rate ratio 0.5000 -> 0.4000 (-20.0 %) holds -> misses",
    "fresh new",
    "not measured now: gone",
  ]);
});

test("medians, quantiles and verdicts", () => {
  expect(summary([4, 1, 3, 2])).toEqual({ median: 2.5, min: 1, max: 4 });
  expect(
    quantile(
      Array.from({ length: 100 }, (_, i) => i),
      0.99,
    ),
  ).toBe(99);
  expect(verdictOf({ figures: [5], goal: { atMost: 5 } })).toBe("holds");
  expect(verdictOf({ figures: [5], ratios: [1.1], goal: { atMost: 1 } })).toBe("misses");
  expect(verdictOf({ figures: [], goal: { atMost: 5 } })).toBe("not run");
  expect(verdictOf({ figures: [5] })).toBe("");
});

test("the table of the kernel bench is read line by line: operations against the peak, bytes against reading", () => {
  const table = `peak: 7200 GFLOP/s, fp32 130, on 2 threads
linear flash bf16 512 x 4096 x 2048               1719.4 us   4995.8 GFLOP/s  69.4 % of peak    13.4 GB/s
reading mapped memory: 31.2 GB/s on 2 threads
decode linear e4m3 1 x 4096 x 4096                 600.0 us                           89.6 % of reading   28.0 GB/s
rope_table yardlog 512                               0.1 us      0.0 GFLOP/s   0.0 % of peak     1.0 GB/s
`;
  expect(parseKernels(table)).toEqual([
    { name: "linear flash bf16 512 x 4096 x 2048", limit: "peak", rate: 4995.8e9, share: expect.closeTo(0.694) },
    { name: "decode linear e4m3 1 x 4096 x 4096", limit: "reading", rate: 28e9, share: expect.closeTo(0.896) },
  ]);
});
