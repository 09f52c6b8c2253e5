import type { LogRecord } from "../../shared/bus/events.ts";
import { type Delta, joinDeltas } from "../../shared/engine/chat/delta.ts";
import type { ServingError } from "../../shared/runtime/errors.ts";
import { type Ending, JobError } from "../answer/answer.ts";
import { answerSoFar, type FoundJob, followAnswer, type Step } from "../answer/follow.ts";
import type { ApiDeps } from "../deps.ts";
import { openaiErrors } from "../errors.ts";
import { callId } from "../ids.ts";
import { jobSummary, prefillIn, readLogged, statusOf } from "../jobs/job-object.ts";
import type { DeltaMessage, ErrorMessage, JobMessage, StatusName, UpdateMessage, UsageMessage } from "./messages.ts";

/** A job as its log tells it now. */
export async function jobMessage(deps: ApiDeps, found: FoundJob): Promise<JobMessage> {
  const job = await readLogged(deps, found);
  const { ended_at, prefill, ...summary } = jobSummary(job);
  const { deltas, end, error } = answerSoFar(deps.model.tokenizer, found.request, found.view, job.records);
  const { reasoning, content, toolCalls } = joinDeltas(deltas);
  const tool_calls = toolCalls.map((call, index) => ({ id: callId(job.id, index), ...call }));
  return {
    ...summary,
    status: statusName(job.records.at(-1)!),
    ended_at: ended_at ?? 0,
    answer: { reasoning, content, tool_calls, finish_reason: end?.reason ?? "" },
    ...(prefill === null ? {} : { prefill }),
    ...(end === null ? {} : { usage: usageMessage(end) }),
    ...(error === null ? {} : { error: errorMessage(error) }),
  };
}

/** What happens to a job behind `after`, as it happens, until it ends. */
export async function* updates({ bus, model }: ApiDeps, id: string, after: number, signal: AbortSignal): AsyncGenerator<UpdateMessage> {
  let total = 0;
  try {
    for await (const step of followAnswer(bus, model.tokenizer, id, signal)) {
      const { event, sequence } = step.record;
      if (event.type === "submitted") total = event.request.promptTokens;
      if (sequence > after) yield updateMessage(id, step, total);
    }
  } catch (thrown) {
    if (!(thrown instanceof JobError)) throw thrown;
    const last = await bus.log.last(id);
    if (last !== null && last.sequence > after)
      yield { id, sequence: last.sequence, status: statusName(last), deltas: [], error: errorMessage(thrown) };
  }
}

function updateMessage(id: string, { record, deltas, end }: Step, total: number): UpdateMessage {
  const prefill = prefillIn(record, total);
  return {
    ...{ id, sequence: record.sequence, status: statusName(record), ...(prefill === null ? {} : { prefill }) },
    deltas: deltas.map((delta) => deltaMessage(id, delta)),
    ...(end === null ? {} : { usage: usageMessage(end), finish_reason: end.reason }),
  };
}

const statusName = (record: LogRecord): StatusName => `JOB_STATUS_${statusOf(record).toUpperCase()}` as StatusName;

function deltaMessage(id: string, delta: Delta): DeltaMessage {
  switch (delta.type) {
    case "reasoning":
      return { reasoning: delta.text };
    case "content":
      return { content: delta.text };
    case "call":
      return { call: { index: delta.index, id: callId(id, delta.index), name: delta.name } };
    case "arguments":
      return { arguments: { index: delta.index, text: delta.text } };
  }
}

const usageMessage = ({ usage }: Ending): UsageMessage => ({
  prompt_tokens: usage.promptTokens,
  completion_tokens: usage.completionTokens,
  cached_tokens: usage.cachedTokens,
});

function errorMessage(error: ServingError): ErrorMessage {
  const { code, message } = openaiErrors.body(error).error;
  return { code, message };
}
