import { refusal } from "../../runtime/errors.ts";
import {
  ASSISTANT,
  BOS,
  EOS,
  effortText,
  LATEST_REMINDER,
  responseFormatBlock,
  SYSTEM,
  type Tags,
  THINK_END,
  THINK_START,
  tagsOf,
  toolsBlock,
  USER,
} from "./dialect.ts";
import { type ChatMessage, type Effort, type Release, releases, type Task, type ToolCall, tasks } from "./messages.ts";
import { entries, field, isObject, type JsonObject, type Printable, printJson, readJson } from "./python-json.ts";
import { asks, lastAsking, mergeMessages, type Turn } from "./turns.ts";

export interface PromptOptions {
  readonly release: Release;
  readonly thinking: boolean;
  readonly effort?: Effort | null | undefined;
  /** Drop the reasoning of earlier turns (default). A conversation with tools keeps it regardless. */
  readonly dropThinking?: boolean | undefined;
  /** OpenAI's `tools` of the request; written into the system message. */
  readonly tools?: readonly Printable[] | null | undefined;
  /** The request's response format; written into the system message, too. */
  readonly responseFormat?: Printable | undefined;
  /**
   * The conversation waits for an answer, or ends with an unfinished one. The release's own encoder opens the
   * assistant's turn after a message that asks something. This opens it after any other message, in the same way:
   * without its header the model would not know that it should answer, nor whether to think.
   */
  readonly opened?: boolean | undefined;
}

/**
 * The prompt of a conversation, to be tokenized (spec 5.2-5.4). Throws INVALID_REQUEST for what no prompt can express.
 */
export function encodePrompt(messages: readonly ChatMessage[], options: PromptOptions): string {
  requireEncodable(messages, options.release);
  const turns = turnsOf(messages, options.tools ?? [], options.responseFormat ?? null);
  const drop = options.thinking && (options.dropThinking ?? true) && turns.every((turn) => turn.tools.length === 0);
  const kept = drop ? withoutOldDevelopers(turns, options.release) : turns;
  const prompt: Prompt = {
    turns: kept,
    release: options.release,
    tags: tagsOf(options.release),
    thinking: options.thinking,
    keepFrom: drop ? lastAsking(kept, options.release) : Number.NEGATIVE_INFINITY,
    openFrom: options.opened === true ? lastUnopened(kept, options.release) : null,
  };
  const effort = options.thinking ? effortText(options.release, options.effort ?? null) : "";
  const systemFirst = options.release === "v41" && (effort !== "" || kept[0]?.role === "system") ? SYSTEM : "";
  return BOS + systemFirst + effort + kept.map((_, i) => turnText(prompt, i) + headerText(prompt, i)).join("");
}

interface Prompt {
  readonly turns: readonly Turn[];
  readonly release: Release;
  readonly tags: Tags;
  readonly thinking: boolean;
  /** Answers after this turn keep their reasoning, and a new answer at or after it begins by thinking. */
  readonly keepFrom: number;
  /** The turn after which the assistant's turn is opened although nothing asks; null: none. */
  readonly openFrom: number | null;
}

/** Tools and format go into the first system message, or form one that shifts no index of `messages` in errors. */
function turnsOf(messages: readonly ChatMessage[], tools: readonly Printable[], format: Printable): readonly Turn[] {
  const appendices = { ...(tools.length > 0 && { tools }), ...(format !== null && { response_format: format }) };
  if (Object.keys(appendices).length === 0) return mergeMessages(messages);
  const [first, ...rest] = messages;
  if (first?.role === "system") return mergeMessages([{ ...first, ...appendices }, ...rest]);
  return [...mergeMessages([{ role: "system", content: "", ...appendices }]), ...mergeMessages(messages)];
}

function withoutOldDevelopers(turns: readonly Turn[], release: Release): readonly Turn[] {
  const last = lastAsking(turns, release);
  return turns.filter((turn, i) => turn.role !== "developer" || i >= last);
}

/** The last turn before the answer; null if the answer is opened there already, or before the reminders at the end. */
function lastUnopened(turns: readonly Turn[], release: Release): number | null {
  const before = turns.at(-1)?.closed === false ? turns.slice(0, -1) : turns;
  const last = before.findLastIndex(({ role }) => role !== "latest_reminder");
  return last >= 0 && asks(turns, last, release) ? null : before.length - 1;
}

/** The text of one turn; an unfinished answer has no EOS. */
function turnText(prompt: Prompt, i: number): string {
  const turn = prompt.turns[i]!;
  switch (turn.role) {
    case "system":
      return (prompt.release === "v41" && i > 0 ? SYSTEM : "") + turn.content + appendices(turn, prompt.tags);
    case "developer":
      return USER + turn.content + appendices(turn, prompt.tags);
    case "user":
      return USER + turn.content;
    case "latest_reminder":
      return LATEST_REMINDER + turn.content;
    case "assistant":
      return reasoningText(prompt, i) + (turn.written ?? turn.content + callsText(turn.calls, prompt.tags)) + (turn.closed ? EOS : "");
  }
}

function reasoningText({ turns, thinking, keepFrom }: Prompt, i: number): string {
  const toldToThink = (turns[i - 1]?.task ?? null) === null;
  return thinking && toldToThink && i > keepFrom ? turns[i]!.reasoning + THINK_END : "";
}

/** What opens the next answer, if one comes after turn i: the assistant's header, or the token of a task. */
function headerText({ turns, release, thinking, keepFrom, openFrom }: Prompt, i: number): string {
  const next = turns[i + 1]?.role;
  if (next !== undefined && next !== "assistant" && next !== "latest_reminder") return "";
  const { task } = turns[i]!;
  const think = thinking && i >= keepFrom ? THINK_START : THINK_END;
  if (task === "action") return ASSISTANT + (thinking ? THINK_START : THINK_END) + taskToken(task);
  if (task !== null) return taskToken(task);
  return i === openFrom || asks(turns, i, release) ? ASSISTANT + think : "";
}

const taskToken = (task: Task) => `<｜${task}｜>`;

function appendices({ tools, responseFormat }: Turn, tags: Tags): string {
  const schemas = tools.map((tool) => printJson(functionOf(tool))).join("\n");
  return (
    (tools.length > 0 ? `\n\n${toolsBlock(tags, schemas)}` : "") +
    (responseFormat === null ? "" : responseFormatBlock(printJson(responseFormat)))
  );
}

function functionOf(tool: Printable): JsonObject {
  const described = isObject(tool) ? field(tool, "function") : undefined;
  if (!isObject(described)) throw refuse("tools", 'every tool must be { "type": "function", "function": { ... } }');
  return described;
}

function callsText(calls: readonly ToolCall[], tags: Tags): string {
  if (calls.length === 0) return "";
  return `\n\n<${tags.calls}>\n${calls.map((call) => callText(call, tags)).join("\n")}\n</${tags.calls}>`;
}

function callText({ function: { name, arguments: given } }: ToolCall, { invoke, parameter }: Tags): string {
  const parameters = entries(argumentsOf(given)).map(([key, value]) => {
    const [isString, text] = typeof value === "string" ? ["true", value] : ["false", printJson(value)];
    return `<${parameter} name="${key}" string="${isString}">${text}</${parameter}>`;
  });
  return `<${invoke} name="${name}">\n${parameters.join("\n")}\n</${invoke}>`;
}

function argumentsOf(given: Printable | undefined): JsonObject {
  const value = typeof given === "string" && given !== "" ? parsedArguments(given) : given;
  if (value === undefined || value === null || value === "") return {};
  if (!isObject(value)) throw refuse("messages", "the arguments of a tool call must be a JSON object");
  return value;
}

/** Text that is not JSON is passed on under the name `arguments`, as the release's own encoder does. */
function parsedArguments(text: string): Printable {
  try {
    return readJson(text);
  } catch {
    return { arguments: text };
  }
}

function requireEncodable(messages: readonly ChatMessage[], release: Release): void {
  if (!releases.includes(release)) throw refuse("release", `unknown release "${release}": use one of ${releases.join(", ")}`);
  if (messages.length === 0) throw refuse("messages", "messages must not be empty");
  messages.forEach((message, i) => {
    if (!ROLES.has(message.role))
      throw refuse(`messages[${i}].role`, `unknown role "${message.role}": use one of ${[...ROLES].join(", ")}`);
    if (release === "v41" && message.role === "developer")
      throw refuse(`messages[${i}].role`, "this model has no developer role: use system");
    if (message.task && !tasks.includes(message.task))
      throw refuse(`messages[${i}].task`, `unknown task "${message.task}": use one of ${tasks.join(", ")}`);
  });
}

const ROLES: ReadonlySet<string> = new Set(["system", "developer", "user", "assistant", "tool", "latest_reminder"]);

const refuse = (param: string, why: string) => refusal(why, { param });
