import type { ChatMessage, ContentPart, ToolCall } from "../../shared/engine/chat/messages.ts";
import { invalid } from "../errors.ts";
import type { Exactly } from "../prompt/exactly.ts";
import type { ChatRequest } from "../requests.ts";

/** The messages of a chat completion as the model knows them, the last of which asks or is continued. INVALID_REQUEST names the message. */
export const chatMessages = ({ messages }: ChatRequest, exactly: Exactly): ChatMessage[] =>
  messages.map(({ prefix, ...message }, i) => {
    const role = knownRole(message.role);
    if (role !== "assistant" && role !== "tool") requireContent(message, i);
    const answersLast = role === "assistant" && i === messages.length - 1;
    if (answersLast) requireBegun({ prefix, ...message }, i);
    else if (prefix === true)
      throw invalid(`messages[${i}].prefix`, "is allowed only on the last message, and only if that is the assistant's");
    const tool_calls = message.tool_calls?.map((call, j) => exactCall(call, ["messages", i, "tool_calls", j], exactly));
    const content = Array.isArray(message.content) ? message.content.map(readable) : message.content;
    return { ...message, content, ...(tool_calls && { tool_calls }), role, ...(answersLast && { wo_eos: true }) } as ChatMessage;
  });

/** A refusal that an assistant is said to have uttered is text like any other. */
const readable = ({ type, text, refusal }: Part): ContentPart =>
  type === "refusal" && refusal !== undefined ? { type: "text", text: refusal } : { type, ...(text !== undefined && { text }) };
type Part = Extract<ChatRequest["messages"][number]["content"], readonly unknown[]>[number];

type Call = NonNullable<ChatRequest["messages"][number]["tool_calls"]>[number];

/** Arguments that are no text stand in the prompt as they were sent, to the last digit. */
function exactCall({ id, function: { name, arguments: given } }: Call, path: readonly (string | number)[], exactly: Exactly): ToolCall {
  const exact = typeof given === "string" ? given : exactly(...path, "function", "arguments");
  return { ...(id !== undefined && { id }), function: { name, arguments: exact } };
}

/** OpenAI's name for the system message of models that think. DeepSeek's own role of that name is another: a thinking model forgets it. */
export const knownRole = <Role extends string>(role: Role): Exclude<Role, "developer"> | "system" =>
  role === "developer" ? "system" : (role as Exclude<Role, "developer">);

/** A tool may have nothing to say, and an assistant calls. */
function requireContent({ content }: Pick<ChatRequest["messages"][number], "content">, i: number): void {
  if (content === undefined) throw invalid(`messages[${i}].content`, "is missing", "missing_required_parameter");
  if (content === null) throw invalid(`messages[${i}].content`, "must be a string or a list of parts");
}

function requireBegun({ prefix, tool_calls }: ChatRequest["messages"][number], i: number): void {
  if (prefix !== true) {
    const why = `messages[${i}], the last, is the assistant's`;
    throw invalid("messages", `${why}: end with a user or tool message, or set "prefix": true on it to have it continued`);
  }
  if ((tool_calls ?? []).length > 0) throw invalid(`messages[${i}].tool_calls`, "must be followed by tool messages with their results");
}
