import { parseArgs } from "node:util";
import { simulate } from "./run.ts";

/** `npm run sim -- --seeds 10000 [--from 1]`, or `--seed N` for one run with its trace. Exits with 1 at the first seed that shows a fault. */
const { values } = parseArgs({ options: { seeds: { type: "string" }, from: { type: "string" }, seed: { type: "string" } } });

process.exitCode =
  values.seed === undefined ? await many(Number(values.from ?? 1), Number(values.seeds ?? 1_000)) : await one(Number(values.seed));

async function many(from: number, count: number): Promise<number> {
  const startMs = performance.now();
  for (let done = 0; done < count; done++) {
    const { seed, faults } = await simulate(from + done);
    if (faults.length > 0) {
      console.log(`\nseed ${seed}: ${faults[0]}\nreplay it: npm run sim -- --seed ${seed}`);
      return 1;
    }
    if (done % 100 === 99 || done === count - 1) {
      const perSecond = (done + 1) / ((performance.now() - startMs) / 1_000);
      process.stdout.write(`\r${done + 1}/${count} runs clean, ${perSecond.toFixed(0)} runs/s `);
    }
  }
  process.stdout.write("\n");
  return 0;
}

async function one(seed: number): Promise<number> {
  const { faults, hash, trace } = await simulate(seed, { keepTrace: true });
  for (const line of trace) console.log(line);
  console.log(`seed ${seed}, ${trace.length} events, hash ${hash}: ${faults.length === 0 ? "clean" : `${faults.length} faults`}`);
  for (const fault of faults) console.log(`  ${fault}`);
  return faults.length === 0 ? 0 : 1;
}
