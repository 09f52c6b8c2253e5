import type { LineDeps } from "../api/line.ts";
import { type Batch, producedFile } from "../shared/batches/batch.ts";
import { deleteParts, findStored, type Part, type StoredFile, saveFile } from "../shared/batches/file.ts";
import { backoffMs, Pause } from "../shared/bus/pause.ts";
import { ServingError } from "../shared/runtime/errors.ts";
import type { Logger } from "../shared/runtime/log.ts";
import type { Metrics } from "../shared/runtime/metrics.ts";
import type { HeldBatch } from "./held-batch.ts";
import { PartReader } from "./lines.ts";
import { doneLines, isDone, type LineResult, piecesOf, Results, withResults } from "./results.ts";
import { type Cause, runLine } from "./run-line.ts";
import { type LineIndex, validate } from "./validate.ts";

export type BatchDeps = LineDeps & { readonly log: Logger; readonly metrics: Metrics };

/** Results that wait for their part before no more lines are begun. */
const WAITING_BYTES_MAX = 33_554_432;

/**
 * Takes a batch from wherever its document says it stands to its end. Everything that decides is in the record: whoever comes after a coordinator that
 * died reads the file again, finds the same lines in the same order, and finds the jobs that its predecessor submitted. Rejects with HoldLost, or
 * with the reason of `stop`.
 */
export async function runBatch(deps: BatchDeps, held: HeldBatch, stop: AbortSignal): Promise<void> {
  try {
    await toEnd(deps, held, stop);
  } catch (error) {
    // That this coordinator stops, or the record is away, is no fault of the batch: another goes on at once, and no attempt is counted.
    const excused = stop.aborted || (error instanceof ServingError && error.retryable);
    if (excused) await held.write({ holder: null, attempt: Math.max(0, held.batch.attempt - 1) }).catch(() => {});
    throw error;
  }
}

async function toEnd(deps: BatchDeps, held: HeldBatch, stop: AbortSignal): Promise<void> {
  const { attemptsMax } = deps.config;
  const { batch } = held;
  const failed = (code: string, message: string) => end(deps, held, "failed", { problems: [{ code, message, param: null, line: null }] });
  if (batch.attempt > attemptsMax)
    return failed("internal_error", `${attemptsMax} coordinators in a row came to nothing with it; what was done before is in its files`);
  if (batch.status === "finalizing") return end(deps, held, "completed");
  if (batch.status === "validating" && batch.cancellingAt !== null) return end(deps, held, "cancelled");
  const file = await findStored(deps.bus, batch.tenant, batch.inputFileId);
  if (file === null) return failed("file_not_found", `the input file ${batch.inputFileId} is gone`);
  const isNew = batch.status === "validating";
  const { index, problems } = await validate(deps.bus, batch, file, isNew ? deps.model.name : null, deps.config.bodyMaxBytes);
  if (isNew && problems.length > 0) return end(deps, held, "failed", { problems });
  if (isNew) await held.write({ status: "in_progress", inProgressAt: await seconds(deps), total: index.count, model: index.model });
  const cause = await new LinesRun(deps, held, file, index, stop).toEnd();
  if (cause !== null) return end(deps, held, cause);
  await held.write({ status: "finalizing", finalizingAt: await seconds(deps) });
  await end(deps, held, "completed");
}

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

/** The lines of a batch that are not done, a bounded number at a time. */
class LinesRun {
  readonly #deps: BatchDeps;
  readonly #held: HeldBatch;
  readonly #index: LineIndex;
  readonly #stop: AbortSignal;
  readonly #reader: PartReader;
  readonly #results = new Results();
  readonly #ending = new AbortController();
  readonly #pause = new Pause();
  /** What no line may outlive: the end of this run, however it ends. */
  readonly #over = new AbortController();
  readonly #beganMs: number;
  #next = 0;
  #running = 0;
  #failure: unknown = null;

  constructor(deps: BatchDeps, held: HeldBatch, file: StoredFile, index: LineIndex, stop: AbortSignal) {
    this.#deps = { ...deps, stopping: AbortSignal.any([stop, this.#over.signal]) };
    this.#held = held;
    this.#index = index;
    this.#stop = stop;
    this.#reader = new PartReader(deps.bus, file);
    this.#beganMs = deps.clock.monotonicMs();
  }

  /** Resolves to why it ended early, or null. */
  async toEnd(): Promise<Cause | null> {
    const { clock, config } = this.#deps;
    const done = doneLines(this.#held.batch);
    const beatMs = config.claimMs / 8;
    try {
      for (;;) {
        await this.#look();
        this.#start(done);
        if (this.#running === 0 && this.#next === this.#index.order.length) break;
        await this.#pause.wait(clock, Math.min(beatMs, TICK_MS), this.#stop);
        this.#stop.throwIfAborted();
        if (this.#failure !== null) throw this.#failure;
        const nowMs = clock.monotonicMs();
        if (this.#results.isDue(nowMs, nowMs - this.#beganMs)) await this.#checkpoint();
        else if (this.#held.quietMs >= beatMs) await this.#held.write({});
      }
      await this.#checkpoint();
      return this.#ending.signal.aborted ? (this.#ending.signal.reason as Cause) : null;
    } finally {
      this.#over.abort(new Error("the run of this batch is over"));
    }
  }

  /** Whether the batch has to end early. */
  async #look(): Promise<void> {
    if (this.#ending.signal.aborted) return;
    const { cancellingAt, expiresAt } = this.#held.batch;
    const nowMs = await this.#deps.bus.log.nowMs().catch(() => 0); // the record is away: later
    const cause: Cause | null = cancellingAt !== null ? "cancelled" : nowMs >= 1_000 * expiresAt ? "expired" : null;
    if (cause !== null) this.#ending.abort(cause);
  }

  #start(done: Buffer): void {
    const { order } = this.#index;
    while (this.#running < this.#deps.config.batchLines && this.#results.bytes < WAITING_BYTES_MAX && this.#next < order.length) {
      const line = order[this.#next++]!;
      if (!isDone(done, line)) void this.#run(line);
    }
  }

  async #run(line: number): Promise<void> {
    this.#running++;
    try {
      const { offsets, lengths, numbers } = this.#index;
      const bytes = await this.#reader.read(offsets[line]!, lengths[line]!);
      const { batch } = this.#held;
      const stop = this.#deps.stopping;
      const result = await runLine(this.#deps, { batch, line, number: numbers[line]!, bytes, ending: this.#ending.signal, stop });
      this.#results.add(result, this.#deps.clock.monotonicMs());
    } catch (error) {
      this.#failure ??= error;
    } finally {
      this.#running--;
      this.#pause.end();
    }
  }

  /** Puts what has ended into parts, and then, with one write, both into the batch. */
  async #checkpoint(): Promise<void> {
    const results = this.#results.take();
    if (results.length === 0) return;
    const parts = { output: await this.#store(results, "output"), errors: await this.#store(results, "errors") };
    try {
      await this.#held.write(withResults(this.#held.batch, results, parts));
    } catch (error) {
      await deleteParts(this.#deps.bus, [...parts.output, ...parts.errors]);
      throw error;
    }
    for (const { kind } of results) batchLines(this.#deps.metrics).inc({ file: kind });
  }

  async #store(results: readonly LineResult[], kind: LineResult["kind"]): Promise<Part[]> {
    const { bus, random } = this.#deps;
    const parts: Part[] = [];
    for (const piece of piecesOf(results, kind)) {
      const key = random.id("part_");
      await untilRoom(this.#deps, this.#held, () => bus.files.put(key, piece));
      parts.push({ key, bytes: piece.length });
    }
    return parts;
  }
}

const TICK_MS = 1_000;

/** Repeats `attempt` while there is no room, or no record, and shows meanwhile that the batch is held: nobody else would get further. */
async function untilRoom<T>(deps: BatchDeps, held: HeldBatch, attempt: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries++) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof ServingError && error.retryable)) throw error;
      if (tries % 60 === 0) deps.log.warn({ batch: held.batch.id, err: error }, "a batch waits for room for its files");
      await held.write({});
      await new Pause().wait(deps.clock, backoffMs(tries), deps.stopping);
      deps.stopping.throwIfAborted();
    }
  }
}

export const batchLines = (metrics: Metrics): ReturnType<Metrics["counter"]> =>
  metrics.counter("longshore_batch_lines_total", "Lines of batches that ended, by the file their result is in.", ["file"]);

const seconds = async ({ bus }: BatchDeps): Promise<number> => Math.floor((await bus.log.nowMs()) / 1_000);
