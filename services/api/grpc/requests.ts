import { type Printable, readJson } from "../../shared/engine/chat/python-json.ts";
import { refusal, ServingError } from "../../shared/runtime/errors.ts";
import type { ApiRequest } from "../api-request.ts";
import type { ApiDeps } from "../deps.ts";
import { requireModel } from "../model.ts";
import { functionTool } from "../prompt/function-tool.ts";
import { chatPrompt, completionPrompt, type WrittenPrompt } from "../prompt/prompt.ts";
import { chatRequest, completionRequest, type GenerationRequest, parseBody } from "../requests.ts";
import type { Submitted } from "../submit.ts";
import { admissible, submitJob } from "../submit-request.ts";
import type { Call } from "./calls.ts";
import type { ChatMessage, SubmitMessage } from "./messages.ts";

/** Submits what a SubmitRequest asks for: the request of the HTTP surface in other words, checked by its rules. */
export async function submitMessage(deps: ApiDeps, message: SubmitMessage, call: Call, detached: boolean): Promise<Submitted> {
  const { model, clock } = deps;
  const { chat, ids, text, lane, idempotency_key: key, ...sampling } = message;
  const seconds = secondsLeft(deps, message, call, detached);
  const body = { ...sampling, model: message.model ?? "", ...(seconds === undefined ? {} : { deadline_seconds: seconds }) };
  const asking: ApiRequest = {
    headers: key === undefined ? {} : { "idempotency-key": key },
    url: call.path,
    body: { raw: JSON.stringify(message) },
    caller: call.caller,
    signal: call.signal,
  };
  const options = { lane: lane === "BATCH" ? "batch" : "interactive", detached } as const;
  const submitted = async (request: GenerationRequest, written: WrittenPrompt) =>
    submitJob(deps, asking, request, await admissible(deps, asking, request, written, options), options);
  if (chat !== undefined) {
    const request = parseBody(chatRequest, { ...body, ...chatBody(chat) });
    requireModel(model, request.model);
    return submitted(request, await chatPrompt(deps, call.caller.tenant, request, () => exactBody(chat)));
  }
  const prompt = ids?.ids ?? text;
  if (prompt === undefined) throw refusal("prompt: is missing: set chat, text or ids", { param: "prompt" });
  const completion = parseBody(completionRequest, { ...body, prompt });
  requireModel(model, completion.model);
  return submitted(completion, completionPrompt(model, completion, clock));
}

/** A job with a reader ends with the reader's deadline. */
function secondsLeft({ clock }: ApiDeps, { deadline_seconds }: SubmitMessage, { deadlineMs }: Call, detached: boolean): number | undefined {
  if (detached || deadlineMs === null) return deadline_seconds;
  const left = (deadlineMs - clock.nowMs()) / 1_000;
  if (left <= 0) throw new ServingError("DEADLINE", "the call's deadline has passed");
  return Math.min(left, deadline_seconds ?? left);
}

const chatBody = ({ messages, tools, thinking, effort, response_format }: ChatMessage) => ({
  messages: messages.map(({ role = "", content, reasoning_content, tool_call_id, tool_calls, prefix }) => ({
    role,
    content: content ?? "",
    reasoning_content,
    tool_call_id,
    prefix,
    tool_calls: tool_calls.map(({ id, name = "", arguments: given = "" }) => ({ id, function: { name, arguments: given } })),
  })),
  tools: tools.map(({ name = "", description }) => ({ type: "function", function: { name, description } })),
  ...(thinking === undefined ? {} : { thinking: { type: thinking ? "enabled" : "disabled" } }),
  ...(effort === undefined ? {} : { reasoning_effort: effort }),
  ...(response_format === undefined ? {} : { response_format: plain(response_format, "chat.response_format") }),
});

/** Schemas are part of the prompt to the letter. */
const exactBody = (chat: ChatMessage): Printable => ({
  tools: exactTools(chat),
  ...(chat.response_format === undefined ? {} : { response_format: exact(chat.response_format, "chat.response_format") }),
});

const exactTools = ({ tools }: ChatMessage): Printable[] =>
  tools.map(({ name = "", description, parameters }, i) =>
    functionTool(name, description, parameters === undefined ? undefined : exact(parameters, `chat.tools[${i}].parameters`)),
  );

const plain = (text: string, param: string): unknown => read(JSON.parse, text, param);
const exact = (text: string, param: string): Printable => read(readJson, text, param);

function read<T>(reader: (text: string) => T, text: string, param: string): T {
  try {
    return reader(text);
  } catch (error) {
    throw refusal(`${param}: is not JSON: ${(error as Error).message}`, { param });
  }
}
