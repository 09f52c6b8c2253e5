import { told } from "../support/told.ts";
import { chaos, type Progress } from "./chaos.ts";
import { report } from "./report.ts";

const USAGE = `npm run chaos -- [--jobs N] [--seed SEED] [--every MS] [--clients N] [--only PATTERN] [--patience SECONDS]

Real processes in a storm: N jobs (1000), asked by so many clients at a time (24), while every MS (900) on average something is killed, frozen, cut
off or lost. SEED decides which jobs, and what happens. --only chooses disturbances ("kill -9 nats"), --patience is how long a job may take (600).
Exits with 1 if anything is not as on a quiet day, and prints the line to replay it.`;

const fallbacks = { jobs: 1_000, seed: Date.now() % 1_000_000, every: 900, only: "", clients: 24, patience: 600 };
const { jobs, seed, every: everyMs, only, clients, patience } = told(USAGE, fallbacks).options;
const again = `npm run chaos -- --jobs ${jobs} --seed ${seed} --every ${everyMs} --clients ${clients}${only === "" ? "" : ` --only "${only}"`}`;
console.log(`chaos: ${jobs} jobs, seed ${seed}; replay with: ${again}`);
const result = await chaos({
  jobs,
  seed,
  everyMs,
  clients,
  only: new RegExp(only),
  patienceMs: patience * 1_000,
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
