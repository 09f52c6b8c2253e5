import type { LineDeps } from "../api/line.ts";
import type { Part, StoredFile } from "../shared/batches/file.ts";
import type { ReadDocument } from "../shared/bus/damage.ts";
import { ServingError } from "../shared/runtime/errors.ts";
import type { Logger } from "../shared/runtime/log.ts";
import type { Metrics } from "../shared/runtime/metrics.ts";
import { backoffMs, linked, Pause } from "../shared/runtime/pause.ts";
import { type HeldBatch, HoldLost } from "./held-batch.ts";
import { PartReader } from "./lines.ts";
import { doneLines, isDone, type LineResult, piecesOf, Results, withResults } from "./results.ts";
import { type Cause, runLine } from "./run-line.ts";
import { Turns } from "./turns.ts";
import type { LineIndex } from "./validate.ts";

export type BatchDeps = LineDeps & { readonly log: Logger; readonly metrics: Metrics; readonly readable: ReadDocument };

/** What lines ask that are not submitted yet, and results that wait for their part: beyond either no more lines are begun, nor large answers read. */
const ASKED_BYTES_MAX = 33_554_432;
const WAITING_BYTES_MAX = 33_554_432;
/** Between two looks at whether the batch has to end, and at what has ended. */
const TICK_MS = 1_000;

/** The lines of a batch that are not done, a bounded number at a time. */
export class LinesRun {
  readonly #deps: BatchDeps;
  readonly #held: HeldBatch;
  readonly #index: LineIndex;
  readonly #stop: AbortSignal;
  readonly #reader: PartReader;
  readonly #results = new Results();
  readonly #turns = new Turns(WAITING_BYTES_MAX, () => this.#results.bytes);
  readonly #ending = new AbortController();
  readonly #pause = new Pause();
  /** What no line may outlive: the end of this run, however it ends. */
  readonly #over = new AbortController();
  readonly #either: ReturnType<typeof linked>;
  readonly #beganMs: number;
  #next = 0;
  #running = 0;
  #askedBytes = 0;
  #failure: unknown = null;

  constructor(deps: BatchDeps, held: HeldBatch, file: StoredFile, index: LineIndex, stop: AbortSignal) {
    this.#either = linked(stop, this.#over.signal);
    this.#deps = { ...deps, stopping: this.#either.signal };
    this.#held = held;
    this.#index = index;
    this.#stop = stop;
    this.#reader = new PartReader(deps.bus, file, this.#deps.stopping);
    this.#beganMs = deps.clock.monotonicMs();
  }

  /** Resolves to why it ended early, or null. Once it rejects with HoldLost nothing more is submitted. */
  async toEnd(): Promise<Cause | null> {
    const { clock, config } = this.#deps;
    const done = doneLines(this.#held.batch);
    try {
      for (;;) {
        await this.#look();
        if (this.#failure !== null) throw this.#failure; // looked at behind every wait: a line may fail during any of them
        this.#start(done);
        if (this.#running === 0 && this.#next === this.#index.order.length) break;
        await this.#pause.wait(clock, Math.min(config.claimMs / 8, TICK_MS), this.#stop);
        this.#stop.throwIfAborted();
        const nowMs = clock.monotonicMs();
        if (this.#results.isDue(nowMs, nowMs - this.#beganMs)) await this.#checkpoint();
        else await this.#held.beat();
      }
      await this.#checkpoint();
      return this.#ending.signal.aborted ? (this.#ending.signal.reason as Cause) : null;
    } catch (error) {
      this.#leave();
      while (error instanceof HoldLost && this.#running > 0 && !this.#stop.aborted) await this.#pause.wait(clock, TICK_MS, this.#stop);
      throw error;
    } finally {
      this.#leave();
    }
  }

  #leave(): void {
    this.#over.abort(new Error("the run of this batch is over"));
    this.#either.release();
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
    const isRoom = () => this.#askedBytes < ASKED_BYTES_MAX && this.#results.bytes < WAITING_BYTES_MAX;
    while (this.#running < this.#deps.config.batchLines && isRoom() && this.#next < order.length) {
      const line = order[this.#next++]!;
      if (!isDone(done, line)) void this.#run(line);
    }
  }

  async #run(line: number): Promise<void> {
    const { offsets, lengths, numbers } = this.#index;
    const length = lengths[line]!;
    let answerBytes = 0;
    this.#running++;
    this.#askedBytes += length;
    try {
      const read = () => this.#reader.read(offsets[line]!, length);
      const dropped = () => {
        if (this.#askedBytes >= ASKED_BYTES_MAX) this.#pause.end(); // lines wait for it
        this.#askedBytes -= length;
      };
      const { batch } = this.#held;
      const stop = this.#deps.stopping;
      const turn = async (bytes: number) => {
        await this.#turns.take(bytes, stop);
        answerBytes = bytes;
      };
      const about = { batch, line, number: numbers[line]!, read, dropped, turn };
      const result = await runLine(this.#deps, { ...about, ending: this.#ending.signal, stop });
      this.#results.add(result, this.#deps.clock.monotonicMs());
    } catch (error) {
      this.#failure ??= error;
    } finally {
      this.#running--;
      this.#turns.give(answerBytes);
      this.#pause.end();
    }
  }

  /** Puts what has ended into parts, and then, with one write, both into the batch. */
  async #checkpoint(): Promise<void> {
    const results = this.#results.take();
    this.#turns.look();
    if (results.length === 0) return;
    const parts = { output: await this.#store(results, "output"), errors: await this.#store(results, "errors") };
    await this.#held.write(withResults(this.#held.batch, results, parts)); // parts of a write that was refused, perhaps after one that was not, go with their age
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

/** Repeats `attempt` while there is no room, or no record, and shows meanwhile that the batch is held: nobody else would get further. */
export async function untilRoom<T>(deps: BatchDeps, held: HeldBatch, attempt: () => Promise<T>): Promise<T> {
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
