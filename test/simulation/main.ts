import { told } from "../support/told.ts";
import { simulate } from "./run.ts";

const USAGE = `npm run sim -- [--seeds N] [--from SEED]
npm run sim -- --seed SEED

Runs whole clusters on a clock of their own, one for each of N seeds (1000) from SEED (1) on, and ends with 1 at the first that shows a fault.
--seed runs one, and prints its trace.`;

const { seeds, from, seed } = told(USAGE, { seeds: 1_000, from: 1, seed: -1 }).options;
process.exitCode = seed === -1 ? await many(from, seeds) : await one(seed);

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
