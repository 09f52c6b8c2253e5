import { parseArgs } from "node:util";
import { chaos, type Progress } from "./chaos.ts";
import { report } from "./report.ts";

/** `npm run chaos -- --jobs 1000 --seed 7`: exit 1 if anything is not as on a quiet day. */
const { values } = parseArgs({
  options: {
    jobs: { type: "string", default: "1000" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    every: { type: "string", default: "900" },
    only: { type: "string", default: "" },
    clients: { type: "string", default: "24" },
    patience: { type: "string", default: "600" }, // as long as a job may take (its deadline)
  },
});
const whole = (name: Exclude<keyof typeof values, "only">): number => {
  const value = values[name]!;
  if (/^\d{1,9}$/.test(value)) return Number(value);
  console.error(`--${name} ${value}: must be a whole number`);
  return process.exit(2);
};

const [jobs, seed, everyMs, clients] = [whole("jobs"), whole("seed"), whole("every"), whole("clients")];
const again = `npm run chaos -- --jobs ${jobs} --seed ${seed} --every ${everyMs} --clients ${clients}${values.only === "" ? "" : ` --only "${values.only}"`}`;
console.log(`chaos: ${jobs} jobs, seed ${seed}; replay with: ${again}`);
const result = await chaos({
  jobs,
  seed,
  everyMs,
  clients,
  only: new RegExp(values.only),
  patienceMs: whole("patience") * 1_000,
  onProgress: progressLine(jobs),
});
console.log(report(result));
const problems = [...result.lost, ...result.faults];
for (const problem of problems) console.log(`  ${problem}`);
console.log(problems.length === 0 ? "ok" : `FAILED; processes wrote to ${result.folder}; replay with: ${again}`);
process.exit(problems.length === 0 ? 0 : 1);

/** On a terminal one line that is drawn over, elsewhere one every ten seconds. */
function progressLine(jobs: number): (progress: Progress) => void {
  const everySeconds = process.stdout.isTTY ? 0.2 : 10;
  let told = 0;
  return ({ answered, lost, restarts, seconds }) => {
    const last = answered + lost === jobs;
    if (seconds - told < everySeconds && !last) return;
    told = seconds;
    const line = `${String(answered).padStart(6)} of ${jobs} answered, ${lost} lost, ${restarts} restarts, ${seconds.toFixed(0)} s`;
    process.stdout.write(process.stdout.isTTY && !last ? `\r${line}` : `${process.stdout.isTTY ? "\r" : ""}${line}\n`);
  };
}
