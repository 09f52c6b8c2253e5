import { batchStorm } from "../support/batch-storm.ts";
import { told } from "../support/told.ts";

const USAGE = `npm run batch:long -- [--lines N] [--documents N] [--words N] [--seed SEED]

A batch of so many lines (5000) over shared documents (20, of 1000 words each) on a cluster of processes, its coordinator and a worker of each kind
killed with -9 three times. Exits with 1 if a line is missing, doubled or other than the engine alone answers it.`;

const { options } = told(USAGE, { lines: 5_000, documents: 20, words: 1_000, seed: 1 });
const storm = { ...options, ms: 3_600_000, tell: console.log };
const { faults, batch, kills, seconds, sharedTokens, sharedComputed } = await batchStorm(storm);
for (const fault of faults.slice(0, 20)) console.log(`wrong  ${fault}`);
const { total, completed, failed } = batch.request_counts!;
console.log(`${batch.status}: ${completed} of ${total} lines, ${failed} failed, ${seconds.toFixed(0)} s, ${kills} processes killed`);
console.log(`the documents have ${sharedTokens} tokens in whole segments, of which ${sharedComputed} were computed`);
process.exitCode = faults.length === 0 && batch.status === "completed" && completed === options.lines ? 0 : 1;
