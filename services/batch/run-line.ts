import type { Ending } from "../api/answer/answer.ts";
import { openaiErrors } from "../api/errors.ts";
import { LargeAnswers, wholeOf } from "../api/http/respond.ts";
import { cancelLine, endedBytes, jobsOf, type Line, type LineDeps, shownLine, submitLine, submittedJobs } from "../api/line.ts";
import { type Batch, type BatchUsage, nothingUsed } from "../shared/batches/batch.ts";
import { derivedId } from "../shared/batches/ids.ts";
import { ServingError } from "../shared/runtime/errors.ts";
import { backoffMs, linked, Pause } from "../shared/runtime/pause.ts";
import { LineBody } from "./line-body.ts";
import type { LineResult } from "./results.ts";

/** Why a batch ends before its lines have. */
export type Cause = "cancelled" | "expired";

const words: Record<Cause, string> = {
  cancelled: "This request could not be executed before the batch was cancelled.",
  expired: "This request could not be executed before the completion window expired.",
};

interface LineRun {
  readonly batch: Pick<Batch, "id" | "tenant" | "endpoint" | "expiresAt">;
  /** Of the index, and in the file. */
  readonly line: number;
  readonly number: number;
  readonly read: () => Promise<Uint8Array>;
  /** Hears when what was read is held no more. */
  readonly dropped: () => void;
  /** Resolves once an answer that takes so many bytes may be held. */
  readonly turn: (bytes: number) => Promise<void>;
  /** Aborts when the batch ends early; its reason is the cause. */
  readonly ending: AbortSignal;
  /** Aborts when this coordinator has to leave the line to others. */
  readonly stop: AbortSignal;
}

/** The jobs of a line follow from the batch and the line's place among all: submitted again they are the same jobs, and found without the file. */
export const lineJobId = (batchId: string, line: number, index: number): string => derivedId("job_", batchId, line + 1, index);

/** Runs a line to its end, or, when the batch ends early, finds out what came of it. Rejects only when `stop` aborted. */
export async function runLine(deps: LineDeps, run: LineRun): Promise<LineResult> {
  const { batch, line, number, stop, ending } = run;
  const asked: Line = {
    tenant: batch.tenant,
    endpoint: batch.endpoint,
    jobId: (index) => lineJobId(batch.id, line, index),
    sinceMs: await persistently(deps, stop, () => deps.bus.log.nowMs()),
    deadlineMs: 1_000 * batch.expiresAt,
  };
  const begun = await begin(deps, run, asked);
  const request_id = derivedId("req_", batch.id, number);
  const head = { id: derivedId("batch_req_", batch.id, number), custom_id: begun.customId };
  const result = (kind: LineResult["kind"], outcome: object, usage: BatchUsage = nothingUsed): LineResult => ({
    ...{ line, kind, usage },
    text: JSON.stringify({ ...head, ...outcome }),
  });
  const failed = (code: string, message: string) => result("errors", { response: null, error: { code, message } });
  const notExecuted = (cause: Cause) => failed(`batch_${cause}`, words[cause]);
  try {
    const answer = await answered(deps, run, asked, begun);
    if (answer === null) return notExecuted(ending.reason as Cause);
    return result("output", { response: { status_code: 200, request_id, body: answer.body }, error: null }, usageOf(answer.ends));
  } catch (thrown) {
    stop.throwIfAborted();
    const error = ServingError.from(thrown);
    if (begun.submission.status === "fulfilled" && isLost(error)) throw error;
    if (ending.aborted && (error.code === "CANCELLED" || error.code === "DEADLINE")) return notExecuted(ending.reason as Cause);
    if (error.code === "DEADLINE") {
      const nowMs = await persistently(deps, stop, () => deps.bus.log.nowMs());
      return nowMs >= asked.deadlineMs ? notExecuted("expired") : failed("request_timeout", error.message);
    }
    return result("errors", { response: { status_code: error.http, request_id, body: openaiErrors.body(error) }, error: null });
  }
}

/**
 * The record has less of the line's jobs than it had, as behind a power cut: no answer of theirs. Whoever takes the batch up anew submits again what is
 * gone. No job ends with a failure that may be mended.
 */
const isLost = (error: ServingError): boolean => error.retryable || error.apiCode === "job_not_found";

/** A line that was submitted, or refused: what is needed of it while its answer is waited for. */
interface Begun {
  readonly customId: string;
  /** How many it asks for. */
  readonly answers: number;
  /** The ids of its jobs; null where the batch ended before. */
  readonly submission: PromiseSettledResult<readonly string[] | null>;
}

/** Holds what the line asks until it is submitted, and no longer: it may be a long document, and hundreds are under way. */
async function begin(deps: LineDeps, { batch, read, dropped, ending, stop }: LineRun, line: Line): Promise<Begun> {
  const body = new LineBody(await persistently(deps, stop, read), batch.endpoint);
  const { customId, answers } = body;
  const [submission] = await Promise.allSettled([submitted(deps, line, body, ending, stop)]);
  dropped();
  return { customId, answers, submission };
}

/** What is held of a line's answers while they grow. What becomes larger is let go, and read again in its turn once it has ended. */
const GROWING_BYTES_MAX = 65_536;

/** The line's answer; null if the batch ended before the line was submitted. Throws what the answer failed with. */
async function answered(deps: LineDeps, { ending, stop, turn }: LineRun, line: Line, { answers, submission }: Begun) {
  if (submission.status === "rejected") throw submission.reason;
  let jobIds = submission.value;
  const cancel = async () => {
    const all = jobIds ?? [];
    await persistently(deps, stop, () => cancelLine(deps, all, `its batch was ${ending.reason as Cause}`));
  };
  const onEnding = () => void cancel().catch(() => {}); // stopped: whoever takes over cancels
  ending.addEventListener("abort", onEnding);
  try {
    if (ending.aborted) {
      jobIds ??= await persistently(deps, stop, () => submittedJobs(deps, line));
      await cancel();
    }
    if (jobIds === null || jobIds.length < answers) return null;
    const all = jobIds;
    const shown = await persistently(deps, stop, () => shownLine(deps, all));
    try {
      return await wholeOf(deps, shown, stop, GROWING_BYTES_MAX);
    } catch (error) {
      if (!(error instanceof LargeAnswers)) throw error;
    }
    await turn(await endedBytes(deps, all, stop));
    return await wholeOf(deps, shown, stop);
  } finally {
    ending.removeEventListener("abort", onEnding);
  }
}

/** Null once the batch ends early. */
async function submitted(
  deps: LineDeps,
  line: Line,
  body: LineBody,
  ending: AbortSignal,
  stop: AbortSignal,
): Promise<readonly string[] | null> {
  const either = linked(ending, stop);
  try {
    if (ending.aborted) return null;
    const jobs = await persistently(deps, either.signal, () => jobsOf(deps, line, body));
    return await persistently(deps, either.signal, () => submitLine(deps, line, jobs));
  } catch (error) {
    if (either.signal.aborted && ending.aborted) return null;
    throw error;
  } finally {
    either.release();
  }
}

/** What is refused for a long time may be taken sooner: others finish. */
const RETRY_MS_MAX = 10_000;

/** Tries again while the cluster has no room or the record is away, until `signal` aborts. */
export async function persistently<T>(deps: LineDeps, signal: AbortSignal, attempt: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries++) {
    signal.throwIfAborted();
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof ServingError && error.retryable)) throw error;
      const waitMs = Math.max(backoffMs(tries), Math.min(RETRY_MS_MAX, 1_000 * (error.retryAfterSeconds ?? 0)));
      await new Pause().wait(deps.clock, waitMs, signal);
    }
  }
}

function usageOf(ends: readonly Ending[]): BatchUsage {
  const [first] = ends;
  const sum = (count: (end: Ending) => number) => ends.reduce((total, end) => total + count(end), 0);
  return {
    inputTokens: first?.usage.promptTokens ?? 0,
    cachedTokens: first?.usage.cachedTokens ?? 0,
    outputTokens: sum(({ usage }) => usage.completionTokens),
    reasoningTokens: sum(({ reasoningTokens }) => reasoningTokens),
  };
}
