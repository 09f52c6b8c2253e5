import type { ChatMessage } from "../../shared/engine/chat/messages.ts";
import type { Printable } from "../../shared/engine/chat/python-json.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import type { ApiDeps } from "../deps.ts";
import { flatFormat } from "../prompt/answer-format.ts";
import { thinksBy } from "../prompt/effort.ts";
import { type Exactly, onDemand } from "../prompt/exactly.ts";
import { conversationPrompt, type WrittenPrompt } from "../prompt/prompt.ts";
import { chosenTools, forcedBy } from "../prompt/tool-choice.ts";
import { conversationOf } from "./history.ts";
import { chatMessages } from "./items.ts";
import type { Echo } from "./kept.ts";
import type { Item, ResponsesRequest } from "./requests.ts";
import { choiceOf, echoedTools, exactTools, nameIn, namesInNamespaces, toolsOf } from "./tools.ts";

/** `exact`: the body read so that numbers and key order survive; asked for only where tools need it. */
export async function responsesPrompt(
  deps: Pick<ApiDeps, "bus" | "model" | "config" | "clock">,
  tenant: string,
  request: ResponsesRequest,
  exact: () => Printable,
): Promise<WrittenPrompt> {
  const { model, config } = deps;
  const { earlier, own } = await conversationOf(deps, tenant, request);
  const items = [...earlier, ...own];
  const effort = request.reasoning?.effort;
  const exactly = onDemand(exact);
  const name = nameIn(request);
  const choice = choiceOf(request, name);
  const conversation = {
    messages: [...instructions(request), ...chatMessages(items, earlier.length, name)],
    tools: chosenTools(toolsOf(request, exactly), choice),
    thinking: thinksBy(effort, model.thinking),
    effort,
    forced: forcedBy(choice),
    format: flatFormat(request.text?.format, () => exactly("text", "format"), "text.format"),
  };
  const { view, ...prompt } = await conversationPrompt(deps, tenant, "responses", conversation);
  const store = request.store ?? true;
  if (store) requireKeepable(items, config.bodyMaxBytes);
  const response = {
    store,
    background: request.background ?? false,
    echo: { value: echoOf(request, exactly) },
    input: { value: store ? items : [] },
  };
  return { ...prompt, view: { ...view, response } };
}

const instructions = ({ instructions }: ResponsesRequest): ChatMessage[] =>
  instructions === undefined ? [] : [{ role: "system", content: instructions }];

/** A conversation that is continued grows without a body that grows. */
function requireKeepable(items: readonly Item[], bytesMax: number): void {
  const bytes = Buffer.byteLength(JSON.stringify(items));
  if (bytes <= bytesMax) return;
  throw new ServingError(
    "TOO_LARGE",
    `the conversation has ${bytes} bytes, more than the ${bytesMax} that can be stored: shorten it, or send store: false`,
    {
      param: "input",
    },
  );
}

function echoOf(request: ResponsesRequest, exactly: Exactly): Echo {
  const { reasoning, text } = request;
  const exact = exactTools(request, exactly);
  return {
    encrypted: request.include?.includes("reasoning.encrypted_content") === true,
    names: namesInNamespaces(request),
    ...(exact === undefined ? {} : { exactTools: exact }),
    fields: {
      instructions: request.instructions ?? null,
      previous_response_id: request.previous_response_id ?? null,
      tools: echoedTools(request),
      tool_choice: request.tool_choice ?? "auto",
      parallel_tool_calls: request.parallel_tool_calls ?? true,
      reasoning: { effort: reasoning?.effort ?? null, summary: reasoning?.summary ?? null },
      text: { format: text?.format ?? { type: "text" }, ...(text?.verbosity === undefined ? {} : { verbosity: text.verbosity }) },
      max_output_tokens: request.max_output_tokens ?? null,
      temperature: request.temperature ?? null,
      top_p: request.top_p ?? null,
      top_logprobs: 0,
      truncation: "disabled", // also where it may be: what does not fit is refused
      service_tier: "default",
      store: request.store ?? true,
      metadata: request.metadata ?? {},
      ...(request.prompt_cache_key === undefined ? {} : { prompt_cache_key: request.prompt_cache_key }),
      ...(request.safety_identifier === undefined ? {} : { safety_identifier: request.safety_identifier }),
      ...(request.user === undefined ? {} : { user: request.user }),
    },
  };
}
