import { isTerminal, type LogRecord } from "../../shared/bus/events.ts";
import { type Delta, joinDeltas } from "../../shared/engine/chat/delta.ts";
import type { ServingError } from "../../shared/runtime/errors.ts";
import { type Ending, JobError } from "../answer/answer.ts";
import { answerSoFar, type FoundJob, followAnswer, type Step, unknownJob } from "../answer/follow.ts";
import type { ApiDeps } from "../deps.ts";
import { openaiErrors } from "../errors.ts";
import { callId } from "../ids.ts";
import { prefillIn, prefillOf, recordTime, statusOf } from "../jobs/job-object.ts";
import type { DeltaMessage, ErrorMessage, JobMessage, StatusName, UpdateMessage, UsageMessage } from "./messages.ts";

/** A job as its log tells it now. */
export async function jobMessage({ bus, model }: ApiDeps, id: string, { request, view }: FoundJob): Promise<JobMessage> {
  const [records, storedMs] = await Promise.all([bus.log.read(id), bus.log.storedTimes(id)]);
  const atMs = recordTime(storedMs);
  const last = records.at(-1);
  if (last === undefined) throw unknownJob(id);
  const { deltas, end, error } = answerSoFar(model.tokenizer, request, view, records);
  const { reasoning, content, toolCalls } = joinDeltas(deltas);
  const prefill = prefillOf(request, records);
  return {
    id,
    model: request.model,
    status: statusName(last),
    created_at: Math.floor(atMs(records[0]!) / 1_000),
    ended_at: isTerminal(last.event) ? Math.floor(atMs(last) / 1_000) : 0,
    deadline_at: Math.floor(request.deadlineMs / 1_000),
    prompt_tokens: request.promptTokens,
    output_tokens: last.tokenCount,
    answer: {
      ...{ reasoning, content, finish_reason: end?.reason ?? "" },
      tool_calls: toolCalls.map((call, index) => ({ id: callId(id, index), ...call })),
    },
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
  return { code: code ?? "", message };
}
