import { isDeepStrictEqual } from "node:util";
import { textOf } from "../../shared/engine/chat/delta.ts";
import { EOS, THINK_END } from "../../shared/engine/chat/dialect.ts";
import type { ChatMessage, ToolCall } from "../../shared/engine/chat/messages.ts";
import { type ParsedOutput, parseOutput } from "../../shared/engine/chat/output.ts";
import { printJson } from "../../shared/engine/chat/python-json.ts";
import { atMost } from "../../shared/runtime/at-most.ts";
import { type ErrorCode, ServingError } from "../../shared/runtime/errors.ts";
import { answerSoFar, findJob } from "../answer/follow.ts";
import type { ApiDeps } from "../deps.ts";
import { callOf } from "../ids.ts";

/** Earlier answers looked up for one prompt, and of these at once. What is older is written anew. */
const TURNS_MAX = 1_024;
const TURNS_AT_ONCE = 16;

type Deps = Pick<ApiDeps, "bus" | "model">;

/**
 * The conversation with every answer that called tools as the model wrote it, to the letter: clients hand arguments back parsed and printed
 * anew, and often drop the reasoning, and then the next prompt would differ from what is cached, and from what the model said. Ids of calls
 * tell the job, and its log has the answer. An answer that the client changed, or that is not kept any more, stays as it came. So do all but the last of
 * those that tell one job: a conversation has an answer once, and each would cost its log, and bring back what was thought.
 */
export async function asSampled(deps: Deps, tenant: string, messages: readonly ChatMessage[]): Promise<readonly ChatMessage[]> {
  const found = [...messages];
  const calling = new Map<string, number>();
  for (const [place, message] of messages.entries()) {
    const jobId = jobOf(message);
    if (jobId !== null) calling.set(jobId, place);
  }
  await atMost(TURNS_AT_ONCE, [...calling].slice(-TURNS_MAX), async ([jobId, place]) => {
    const message = messages[place]!;
    found[place] = await sampled(deps, tenant, jobId, message).catch((thrown) => {
      if (UNKNOWN.has(ServingError.from(thrown).code)) return message;
      throw thrown;
    });
  });
  return found;
}

/** Deleted, another tenant's, or the client made it up; or its log cannot be read, which is that job's trouble alone. */
const UNKNOWN: ReadonlySet<ErrorCode> = new Set(["NOT_FOUND", "DAMAGED"]);

/** The job whose calls these are; null unless all are of one. */
function jobOf({ role, tool_calls: calls }: ChatMessage): string | null {
  if (role !== "assistant" || calls === null || calls === undefined) return null;
  const made = calls.map(({ id }) => callOf(id ?? ""));
  const job = made[0]?.jobId ?? null;
  return made.every((call, i) => call?.jobId === job && call.index === i) ? job : null;
}

async function sampled({ bus, model }: Deps, tenant: string, jobId: string, message: ChatMessage): Promise<ChatMessage> {
  const job = await findJob(bus, jobId, tenant);
  const { release, thinking } = job.view;
  const { deltas, end } = answerSoFar(model.tokenizer, job.request, { ...job.view, surface: "completion" }, await bus.log.read(jobId));
  if (end?.reason !== "stop" || end.stop !== null || release !== model.release) return message;
  const text = (job.view.begun ?? "") + deltas.map(textOf).join("");
  const parsed = parseOutput(text + EOS, { release, thinking });
  if (parsed.problem !== null || !isUnchanged(message, parsed)) return message;
  const written = thinking ? text.slice(parsed.reasoning.length + THINK_END.length) : text;
  return { ...message, reasoning_content: parsed.reasoning, written };
}

function isUnchanged({ content, reasoning_content: reasoning, tool_calls: calls }: ChatMessage, parsed: ParsedOutput): boolean {
  const said = typeof content === "string" ? content : content?.map(({ text }) => text ?? "").join("\n\n");
  return (
    (said ?? "") === parsed.content &&
    [undefined, null, "", parsed.reasoning].includes(reasoning) &&
    calls?.length === parsed.toolCalls.length &&
    parsed.toolCalls.every(
      (call, i) => calls[i]!.function.name === call.name && isDeepStrictEqual(argumentsOf(calls[i]!), read(call.arguments)),
    )
  );
}

function argumentsOf({ function: { arguments: given } }: ToolCall): unknown {
  return typeof given === "string"
    ? read(given === "" ? "{}" : given)
    : read(given === undefined || given === null ? "{}" : printJson(given));
}

/** As every JSON reader understands it; text that is none stands for itself. */
function read(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return json;
  }
}
