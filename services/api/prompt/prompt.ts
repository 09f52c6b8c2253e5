import type { ChatMessage } from "../../shared/engine/chat/messages.ts";
import type { Printable } from "../../shared/engine/chat/python-json.ts";
import type { Constraint } from "../../shared/engine/grammar/following.ts";
import type { Clock } from "../../shared/runtime/clock.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import type { View } from "../answer/view.ts";
import type { ApiDeps } from "../deps.ts";
import { invalid } from "../errors.ts";
import type { ServedModel } from "../model.ts";
import { chatMessages } from "../openai/messages.ts";
import type { ChatRequest, CompletionRequest } from "../requests.ts";
import { type AnswerFormat, formatOf, requireFormat } from "./answer-format.ts";
import { asSampled } from "./as-sampled.ts";
import { type EffortWord, effortOf, thinksBy } from "./effort.ts";
import { type Exactly, onDemand } from "./exactly.ts";
import { nameOf } from "./function-tool.ts";
import { openedPrompt } from "./opened-prompt.ts";
import { chosenTools, type ForcedCall, forcedBy, openingOf, type ToolChoice } from "./tool-choice.ts";

/** A prompt as it is written. What is left, to try its schema and to make tokens of it, is most of the work of a request before it is a job. */
export interface WrittenPrompt {
  readonly view: View;
  readonly constraint?: Constraint;
  /** No more than it has tokens. Throws CONTEXT_LENGTH. */
  atLeast(): number;
  ids(): Promise<Int32Array>;
}

export interface Prompt extends Pick<WrittenPrompt, "view" | "constraint"> {
  readonly ids: Int32Array;
}

export async function tokenized({ view, constraint, ids }: WrittenPrompt): Promise<Prompt> {
  return { ids: await ids(), view, ...(constraint && { constraint }) };
}

/** `exact`: the same request read so that numbers and key order survive, because a tool's schema is part of the prompt to the letter. */
export async function chatPrompt(deps: PromptDeps, tenant: string, request: ChatRequest, exact: () => Printable): Promise<WrittenPrompt> {
  const { model } = deps;
  const exactly = onDemand(exact);
  const choice = choiceOf(request);
  const conversation: Conversation = {
    messages: chatMessages(request, exactly),
    tools: chosenTools(toolsOf(request, exactly), choice),
    thinking: request.thinking === undefined ? thinksBy(request.reasoning_effort, model.thinking) : request.thinking.type === "enabled",
    effort: request.reasoning_effort,
    format: formatOf(request, exactly),
    forced: forcedBy(choice),
  };
  return conversationPrompt(deps, tenant, "chat", conversation);
}

/** What the chat surfaces have in common. */
export interface Conversation {
  readonly messages: readonly ChatMessage[];
  /** OpenAI's form. */
  readonly tools: readonly Printable[];
  readonly thinking: boolean;
  readonly effort: EffortWord | undefined;
  readonly format?: AnswerFormat | undefined;
  readonly forced?: ForcedCall | undefined;
}

/** What a prompt is made from: the model, and the record, which knows what was answered before. */
export type PromptDeps = Pick<ApiDeps, "model" | "bus" | "clock">;

export async function conversationPrompt(
  { model, bus, clock }: PromptDeps,
  tenant: string,
  surface: Exclude<View["surface"], "completion">,
  conversation: Conversation,
): Promise<WrittenPrompt> {
  const { tools, thinking, effort, format } = conversation;
  const { release } = model;
  const asked = await asSampled({ bus, model }, tenant, conversation.messages);
  const begun = conversation.forced === undefined ? undefined : openingOf(conversation.forced, new Set(tools.map(nameOf)), asked, release);
  const messages: readonly ChatMessage[] = begun === undefined ? asked : [...asked, { role: "assistant", written: begun, wo_eos: true }];
  const options = { release, thinking, effort: effortOf(effort), tools, responseFormat: format?.written };
  const { text, thinks } = openedPrompt(messages, options);
  const isHeld = format !== undefined && begun === undefined; // what is a call is no value
  const constraint = isHeld && { constraint: heldTo(model, format.schema, thinks, tools.length > 0) };
  const view = { surface, created: seconds(clock), thinking: thinks, tools: tools.length > 0, release };
  const written = writtenText(model, text, surface === "responses" ? "input" : "messages");
  const ids = async () => {
    if (format !== undefined) await requireFormat(model.grammars, format, conversation.messages);
    return written.ids();
  };
  return { atLeast: written.atLeast, ids, ...constraint, view: begun === undefined ? view : { ...view, begun } };
}

/** An answer of a model that has tools may call them instead, as one does that has to (`openingOf`). */
const heldTo = ({ tokenizer, calls }: ServedModel, schema: string, thinks: boolean, mayCall: boolean): Constraint => ({
  schema,
  ...(thinks && { after: tokenizer.ids.thinkEnd! }),
  ...(mayCall && calls),
});

export function completionPrompt(model: ServedModel, { prompt }: CompletionRequest, clock: Clock): WrittenPrompt {
  const written = typeof prompt === "string" ? writtenText(model, prompt, "prompt") : writtenIds(tokenIds(model, prompt));
  return { ...written, view: { surface: "completion", created: seconds(clock), thinking: false, tools: false, release: model.release } };
}

type Written = Pick<WrittenPrompt, "atLeast" | "ids">;

const writtenText = (model: ServedModel, text: string, param: string): Written => ({
  atLeast: () => {
    const tokens = model.tokenizer.atLeast(text);
    if (tokens >= model.contextTokens) throw tooLong(model, param, tokens); // which no waiting mends
    return tokens;
  },
  ids: () => encode(model, text, param),
});

const writtenIds = (ids: Int32Array): Written => ({ atLeast: () => ids.length, ids: async () => ids });

function tokenIds(model: ServedModel, prompt: readonly number[]): Int32Array {
  if (prompt.length >= model.contextTokens) throw tooLong(model, "prompt", prompt.length);
  const unknown = prompt.find((id) => id >= model.vocabSize);
  if (unknown !== undefined) throw invalid("prompt", `${unknown} is not a token of ${model.name}`);
  return Int32Array.from(prompt);
}

async function encode(model: ServedModel, text: string, param: string): Promise<Int32Array> {
  try {
    const ids = await model.tokenizer.encode(text, model.contextTokens - 1);
    if (ids.length === 0) throw invalid(param, "must not be empty");
    return ids;
  } catch (error) {
    if (!(error instanceof ServingError)) throw error;
    if (error.code === "CONTEXT_LENGTH") throw tooLong(model, param, model.contextTokens);
    if (error.code !== "INVALID_REQUEST") throw error; // of the tokenizer, not of the text
    throw new ServingError(error.code, error.message, { param, apiCode: "invalid_value" });
  }
}

/** Clients know this by its words as well as by its code: by "prompt is too long" some shorten the conversation, by as much as the numbers say. */
const tooLong = ({ contextTokens, name }: ServedModel, param: string, atLeast: number) =>
  new ServingError(
    "CONTEXT_LENGTH",
    `${param}: prompt is too long: at least ${atLeast} tokens > ${contextTokens - 1}, the most that ${name} takes; shorten it`,
    { param, apiCode: "context_length_exceeded" },
  );

function choiceOf({ tool_choice: choice }: ChatRequest): ToolChoice {
  if (typeof choice !== "object") return choice;
  if (choice.type === "function") return choice.function;
  const { mode, tools } = choice.allowed_tools;
  return { mode, allowed: tools.map((tool) => tool.function.name) };
}

function toolsOf(request: ChatRequest, exactly: Exactly): readonly Printable[] {
  if (request.tools === undefined || request.tools.length === 0) return [];
  const tools = exactly("tools");
  return Array.isArray(tools) ? tools : [];
}

const seconds = (clock: Clock): number => Math.floor(clock.nowMs() / 1_000);
