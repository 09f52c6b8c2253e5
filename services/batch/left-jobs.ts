import { cancelLine, submittedJobs } from "../api/line.ts";
import type { Batch } from "../shared/batches/batch.ts";
import type { BatchDeps } from "./lines-run.ts";
import { doneLines, isDone } from "./results.ts";
import { lineJobId, persistently } from "./run-line.ts";

/** Lines that are looked at together. */
const LINES = 256;

/**
 * Cancels the jobs of all lines that are not done, for an end that waits for no answers. Which were submitted the logs of their jobs alone tell: whoever
 * submitted them may have died before anything of them was in the batch. Done before the batch ends, so that whoever comes after one that dies
 * meanwhile does it again. `beat` is called between looks: it is progress.
 */
export async function cancelLeft(deps: BatchDeps, batch: Batch, by: string, stop: AbortSignal, beat: () => Promise<void>): Promise<void> {
  const done = doneLines(batch);
  const cancel = async (line: number) => {
    const jobIds = await submittedJobs(deps, { jobId: (index) => lineJobId(batch.id, line, index) });
    await cancelLine(deps, jobIds, by);
  };
  for (let begin = 0; begin < batch.total; begin += LINES) {
    await beat();
    const lines = Array.from({ length: Math.min(LINES, batch.total - begin) }, (_, i) => begin + i);
    await Promise.all(lines.map((line) => isDone(done, line) || persistently(deps, stop, () => cancel(line))));
  }
}
