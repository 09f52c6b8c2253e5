import type { Bus } from "../../shared/bus/contract.ts";
import { isTerminal, type JobRequest, type LogRecord } from "../../shared/bus/events.ts";
import type { TokenTexts } from "../../shared/engine/text.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import { isJobId } from "../ids.ts";
import { echoKept } from "../responses/kept.ts";
import { type Addition, Answer, type Ending } from "./answer.ts";
import { parserFor, submittedView, type View } from "./view.ts";

/** What a record means to a reader of the answer. */
export interface Step extends Addition {
  readonly record: LogRecord;
  /** Set on the last step. */
  readonly end: Ending | null;
}

export interface FoundJob {
  readonly jobId: string;
  readonly request: JobRequest;
  readonly view: View;
}

/** The request as it was submitted, and how to show its answer. NOT_FOUND for an unknown or deleted job, in the same words for another tenant's. */
export async function findJob(bus: Bus, jobId: string, tenant: string): Promise<FoundJob> {
  const event = isJobId(jobId) ? (await bus.log.first(jobId))?.event : undefined;
  if (event?.type !== "submitted" || event.request.tenant !== tenant) throw unknownJob(jobId);
  return { jobId, request: event.request, view: await readView(bus, jobId, event.request) };
}

export async function viewOf(bus: Bus, jobId: string): Promise<View> {
  const event = (await bus.log.first(jobId))?.event;
  if (event?.type !== "submitted") throw unknownJob(jobId);
  return readView(bus, jobId, event.request);
}

/** With what of it lies beside the log, as far as every reader needs it. */
async function readView(bus: Bus, jobId: string, request: JobRequest): Promise<View> {
  const view = submittedView(request);
  const { response } = view;
  return response === undefined ? view : { ...view, response: { ...response, echo: { value: await echoKept(bus, jobId, response) } } };
}

export const unknownJob = (jobId: string) =>
  new ServingError("NOT_FOUND", `no job ${jobId}; results are kept for a limited time`, { apiCode: "job_not_found" });

/** The answer as far as `records` go, and the error it ended with if it did. */
export function answerSoFar(tokenizer: TokenTexts, request: JobRequest, view: View, records: readonly LogRecord[]) {
  const answer = new Answer(tokenizer, request, parserFor(view));
  const added: Addition[] = [];
  let error: ServingError | null = null;
  for (const record of records) {
    try {
      added.push(answer.push(record));
    } catch (thrown) {
      error = ServingError.from(thrown);
    }
  }
  const all = { deltas: added.flatMap(({ deltas }) => deltas), scores: added.flatMap(({ scores }) => scores) };
  return { ...all, end: answer.end, error };
}

/** The answer of a job from its beginning, as it grows. Ends after the last step; throws what the job failed with. `known`: as in `JobLog.follow`. */
export async function* followAnswer(
  bus: Bus,
  tokenizer: TokenTexts,
  jobId: string,
  signal: AbortSignal,
  known?: readonly LogRecord[],
): AsyncGenerator<Step> {
  let answer: Answer | null = null;
  for await (const record of bus.log.follow(jobId, 0, signal, known)) {
    if (record.event.type === "submitted") {
      const { request } = record.event;
      answer = new Answer(tokenizer, request, parserFor(submittedView(request)));
    }
    if (answer === null) throw unknownJob(jobId);
    const added = answer.push(record);
    yield { record, ...added, end: answer.end };
    if (isTerminal(record.event)) return;
  }
  signal.throwIfAborted();
  throw new ServingError("NOT_FOUND", `job ${jobId} was deleted while it was read`, { apiCode: "job_not_found" });
}
