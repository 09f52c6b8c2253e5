import { type Batch, findBatch, hasEnded, producedFile } from "../shared/batches/batch.ts";
import { saveFile, storedFile } from "../shared/batches/file.ts";
import { ServingError } from "../shared/runtime/errors.ts";
import { type HeldBatch, HoldLost } from "./held-batch.ts";
import { cancelLeft } from "./left-jobs.ts";
import { type BatchDeps, LinesRun, untilRoom } from "./lines-run.ts";
import { persistently } from "./run-line.ts";
import { findAgain, validate } from "./validate.ts";

/**
 * Takes a batch from wherever its document says it stands to its end. Everything that decides is in the record: whoever comes after a coordinator that
 * died reads the file again, finds the same lines in the same order, and finds the jobs that its predecessor submitted. Rejects with HoldLost, or
 * with the reason of `stop`.
 */
export async function runBatch(deps: BatchDeps, held: HeldBatch, stop: AbortSignal): Promise<void> {
  try {
    await carry(deps, held, stop);
  } catch (error) {
    if (error instanceof HoldLost) await leave(deps, held.batch, stop);
    // That this coordinator stops, or the record is away, is no fault of the batch: another goes on at once, and no attempt is counted.
    const excused = stop.aborted || (error instanceof ServingError && error.retryable);
    if (excused) await held.write({ holder: null, attempt: Math.max(0, held.batch.attempt - 1) }).catch(() => {});
    throw error;
  }
}

/** Who stood still, and lost the batch meanwhile, may have submitted a line behind its end, when nobody looks for jobs of it any more. */
async function leave(deps: BatchDeps, before: Batch, stop: AbortSignal): Promise<void> {
  const { batch = null } = (await persistently(deps, stop, () => findBatch(deps.bus, before.tenant, before.id))) ?? {};
  if (batch === null || (hasEnded(batch) && batch.status !== "completed"))
    await cancelLeft(deps, before, "its batch had ended", stop, async () => {});
}

async function carry(deps: BatchDeps, held: HeldBatch, stop: AbortSignal): Promise<void> {
  const { attemptsMax } = deps.config;
  const { batch } = held;
  const beat = () => held.beat();
  const fail = async (problems: Batch["problems"]) => {
    await cancelLeft(deps, held.batch, "its batch failed", stop, beat); // a predecessor may have submitted them
    await end(deps, held, "failed", { problems });
  };
  const failed = (code: string, message: string) => fail([{ code, message, param: null, line: null }]);
  if (batch.attempt > attemptsMax)
    return failed(
      "internal_error",
      `${attemptsMax} coordinators in a row failed on this batch; its files hold the lines that were finished`,
    );
  if (batch.status === "finalizing") return end(deps, held, asTold(batch));
  if (batch.status === "validating" && batch.cancellingAt !== null) return end(deps, held, "cancelled");
  const file = await storedFile(deps.bus, batch.tenant, batch.inputFileId);
  if (file === null) return failed("file_not_found", `the input file ${batch.inputFileId} is gone`);
  const isNew = batch.status === "validating";
  const { index, problems } = isNew
    ? await validate(deps.bus, batch, file, deps.model.name, deps.config.bodyMaxBytes, beat)
    : await findAgain(deps.bus, batch, file, beat);
  if (problems.length > 0) return fail(problems);
  if (isNew) await held.write({ status: "in_progress", inProgressAt: await seconds(deps), total: index.count, model: index.model });
  const cause = await new LinesRun(deps, held, file, index, stop).toEnd();
  if (cause !== null) return end(deps, held, cause);
  await held.write({ status: "finalizing", finalizingAt: await seconds(deps) });
  await end(deps, held, asTold(held.batch));
}

/** How a batch ends whose lines have: who was told that it is cancelled waits for that, though the last line was faster. */
const asTold = ({ cancellingAt }: Batch): Batch["status"] => (cancellingAt === null ? "completed" : "cancelled");

/** Its files get documents of their own, then the batch ends: who finds it ended finds them. */
async function end(deps: BatchDeps, held: HeldBatch, status: Batch["status"], more: Partial<Batch> = {}): Promise<void> {
  const endedAt = await seconds(deps);
  for (const kind of ["output", "errors"] as const) {
    const file = producedFile(held.batch, kind, endedAt);
    if (file !== null) await untilRoom(deps, held, () => saveFile(deps.bus, held.batch.tenant, file));
  }
  const { output, errors } = held.batch;
  const produced = { output: { ...output, parts: [] }, errors: { ...errors, parts: [] } };
  const webhook = deps.config.webhookUrl === "" ? null : { tries: 0, nextAt: endedAt };
  await held.write({ ...more, ...produced, status, endedAt, done: "", holder: null, webhook });
  deps.log.info({ batch: held.batch.id, status, completed: output.lines, failed: errors.lines }, "a batch ended");
}

const seconds = async ({ bus }: BatchDeps): Promise<number> => Math.floor((await bus.log.nowMs()) / 1_000);
