import { parseArgs } from "node:util";
import { batchStorm } from "../support/batch-storm.ts";

/**
 * `npm run batch:long`: a batch over shared documents on a cluster of processes, its coordinator and a worker of each kind killed with -9 three times.
 * Exit 1 if a line is missing, doubled or other than the engine alone answers it.
 */
const { values } = parseArgs({
  options: {
    lines: { type: "string", default: "5000" },
    documents: { type: "string", default: "20" },
    words: { type: "string", default: "1000" },
    seed: { type: "string", default: "1" },
  },
});
const { faults, batch, kills, seconds, sharedTokens, sharedComputed } = await batchStorm({
  lines: Number(values.lines),
  documents: Number(values.documents),
  words: Number(values.words),
  seed: Number(values.seed),
  ms: 3_600_000,
  tell: console.log,
});
for (const fault of faults.slice(0, 20)) console.log(`wrong  ${fault}`);
const { total, completed, failed } = batch.request_counts!;
console.log(`${batch.status}: ${completed} of ${total} lines, ${failed} failed, ${seconds.toFixed(0)} s, ${kills} processes killed`);
console.log(`the documents have ${sharedTokens} tokens in whole segments, of which ${sharedComputed} were computed`);
process.exitCode = faults.length === 0 && batch.status === "completed" && completed === Number(values.lines) ? 0 : 1;
