import type { Batch, BatchUsage, Produced } from "../shared/batches/batch.ts";
import type { Part } from "../shared/batches/file.ts";
import { PART_BYTES } from "../shared/batches/file.ts";

/** What became of a line: its place in one of the two files. */
export interface LineResult {
  /** Of the index. */
  readonly line: number;
  readonly kind: "output" | "errors";
  /** JSON. */
  readonly text: string;
  readonly usage: BatchUsage;
}

/** Lines that ended and are in no part yet. Whoever takes over finds their answers in the logs of their jobs. */
export class Results {
  #waiting: LineResult[] = [];
  #bytes = 0;
  #sinceMs = 0;

  /** UTF-16 units, about. */
  get bytes(): number {
    return this.#bytes;
  }

  add(result: LineResult, nowMs: number): void {
    if (this.#waiting.length === 0) this.#sinceMs = nowMs;
    this.#waiting.push(result);
    this.#bytes += result.text.length;
  }

  /** A part is full, or its first line has waited long enough: a hundredth of the time the batch runs, so that parts stay few. */
  isDue(nowMs: number, runningMs: number): boolean {
    if (this.#waiting.length === 0) return false;
    return this.#bytes >= PART_BYTES || nowMs - this.#sinceMs >= Math.max(WAIT_MS, runningMs / 100);
  }

  take(): readonly LineResult[] {
    const taken = this.#waiting;
    this.#waiting = [];
    this.#bytes = 0;
    return taken;
  }
}

const WAIT_MS = 1_000;
/** Largest part that is written. */
const PIECE_BYTES = 4 * PART_BYTES;

/** The bytes that results add to one of the files, in pieces of bounded size. */
export function piecesOf(results: readonly LineResult[], kind: LineResult["kind"]): Uint8Array[] {
  const bytes = Buffer.from(results.map((result) => (result.kind === kind ? `${result.text}\n` : "")).join(""));
  return Array.from({ length: Math.ceil(bytes.length / PIECE_BYTES) }, (_, i) => bytes.subarray(i * PIECE_BYTES, (i + 1) * PIECE_BYTES));
}

/** The batch once these results, with their parts, are in it. */
export function withResults(
  batch: Batch,
  results: readonly LineResult[],
  parts: Readonly<Record<LineResult["kind"], readonly Part[]>>,
): Pick<Batch, "output" | "errors" | "usage" | "done" | "attempt"> {
  const done = doneLines(batch);
  for (const { line } of results) done[line >> 3]! |= 1 << (line & 7);
  const more = (kind: LineResult["kind"], { lines, parts: before }: Produced): Produced => ({
    lines: lines + results.filter((result) => result.kind === kind).length,
    parts: [...before, ...parts[kind]],
  });
  return {
    output: more("output", batch.output),
    errors: more("errors", batch.errors),
    usage: results.reduce((sum, { usage }) => added(sum, usage), batch.usage),
    done: done.toString("base64"),
    attempt: 0,
  };
}

/** A bit for each line of the index. */
export function doneLines({ done, total }: Pick<Batch, "done" | "total">): Buffer {
  const bits = Buffer.alloc((total + 7) >> 3);
  Buffer.from(done, "base64").copy(bits);
  return bits;
}

export const isDone = (done: Buffer, line: number): boolean => (done[line >> 3]! & (1 << (line & 7))) !== 0;

const added = (a: BatchUsage, b: BatchUsage): BatchUsage => ({
  inputTokens: a.inputTokens + b.inputTokens,
  cachedTokens: a.cachedTokens + b.cachedTokens,
  outputTokens: a.outputTokens + b.outputTokens,
  reasoningTokens: a.reasoningTokens + b.reasoningTokens,
});
