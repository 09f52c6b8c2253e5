import { join } from "node:path";
import { parseArgs } from "node:util";
import { packageRoot } from "../../services/shared/runtime/package-root.ts";
import type { Bench, Row, Scene } from "./bench.ts";
import { benches } from "./benches.ts";
import { type Machine, thisMachine } from "./machine.ts";
import { openNote } from "./note.ts";
import { renderComparison, renderRow } from "./print.ts";
import { keepResults, type Result, readResults, resultOf } from "./results.ts";

const USAGE = `npm run bench [-- NAME...] [--list] [--compare OLD.csv] [--results FOLDER] [--tiny]

Measures what was named, or everything. Each figure stands beside what this machine can do, measured in the same run, and goes to
test/bench/results/<processor>.csv. --compare shows what moved against older results. --tiny tries the benches on small sizes and keeps nothing
unless a folder for the results is named.`;

/** No bench takes longer by much, unless it says so: measurements that have not begun by then are left out. */
const BENCH_SECONDS = 150;

async function main(args: readonly string[]): Promise<number> {
  const { values: options, positionals: named } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      list: { type: "boolean", default: false },
      tiny: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
      compare: { type: "string" },
      results: { type: "string" },
    },
  });
  if (options.help) return say(USAGE);
  if (options.list) return say(benches.map(({ name, about }) => `${name.padEnd(14)} ${about}`).join("\n"));
  const unknown = named.filter((name) => !benches.some((bench) => bench.name === name));
  if (unknown.length > 0) throw new Error(`no bench ${unknown.join(", ")}; --list names them all`);
  const before = options.compare === undefined ? null : readResults(options.compare);

  const machine = thisMachine();
  console.log(`longshore bench on ${machine.id}, commit ${machine.commit}${options.tiny ? ", tiny sizes: the figures mean nothing" : ""}`);
  const chosen = benches.filter(({ name }) => named.length === 0 || named.includes(name));
  const folder = options.results ?? (options.tiny ? null : join(packageRoot(), "test", "bench", "results"));
  const keep = (results: readonly Result[]) => folder !== null && keepResults(`${folder}/${machine.id}.csv`, results);
  const { results, failed } = await measure(chosen, machine, options.tiny, keep);
  if (before !== null) console.log(`\nagainst ${options.compare}\n${renderComparison(before, results)}`);
  return failed ? 1 : 0;
}

/** `keep` gets everything measured so far after each bench: what stops a later one loses nothing. */
async function measure(
  chosen: readonly Bench[],
  machine: Machine,
  tiny: boolean,
  keep: (results: readonly Result[]) => void,
): Promise<{ results: Result[]; failed: boolean }> {
  const results: Result[] = [];
  const date = new Date().toISOString().slice(0, 10);
  let failed = false;
  for (const bench of chosen) {
    console.log(`\n${bench.name}: ${bench.about}`);
    const note = openNote(process.stderr);
    const endMs = performance.now() + 1_000 * (bench.seconds ?? BENCH_SECONDS);
    const scene: Scene = {
      machine,
      tiny,
      repeats: tiny ? 1 : 5,
      late: () => performance.now() > endMs,
      say: (text) => note.show(text),
      report: (row: Row) => {
        note.clear();
        console.log(renderRow(row));
        if (row.figures.length > 0) results.push(resultOf(row, date, machine.commit));
      },
    };
    try {
      await bench.run(scene);
    } catch (error) {
      failed = true;
      console.error(`  ${bench.name} failed: ${error instanceof Error ? error.stack : error}`);
    } finally {
      note.clear();
      keep(results);
    }
  }
  return { results, failed };
}

function say(text: string): number {
  console.log(text);
  return 0;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 2;
}
