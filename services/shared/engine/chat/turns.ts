import { refusal } from "../../runtime/errors.ts";
import type { ChatMessage, ContentPart, Release, Task, ToolCall } from "./messages.ts";
import type { Printable } from "./python-json.ts";

/** One turn of the prompt: a message, or the user messages and tool results that were merged into one. */
export interface Turn {
  readonly role: Exclude<ChatMessage["role"], "tool">;
  readonly content: string;
  readonly reasoning: string;
  readonly calls: readonly ToolCall[];
  /** Content and calls exactly as the model wrote them; null: as the encoder writes them. */
  readonly written: string | null;
  readonly tools: readonly Printable[];
  readonly responseFormat: Printable;
  readonly task: Task | null;
  readonly closed: boolean;
}

/** Spec 5.2, step 1: messages to turns. Throws INVALID_REQUEST naming the message. */
export function mergeMessages(messages: readonly ChatMessage[]): Turn[] {
  const turns: Turn[] = [];
  let open: OpenTurn | null = null;
  let callOrder: ReadonlyMap<string, number> = new Map();
  for (const [i, message] of messages.entries()) {
    const where = `messages[${i}]`;
    if (message.role === "user" || message.role === "tool") {
      if (open !== null && message.role === "user" && open.task !== null) {
        turns.push(close(open, callOrder));
        open = null;
      }
      open = join(open ?? { blocks: [], tools: [], task: null }, message, where);
      continue;
    }
    if (open !== null) turns.push(close(open, callOrder));
    open = null;
    const turn = plainTurn(message, where);
    if (turn.role === "assistant" && turn.calls.length > 0) callOrder = orderOf(turn.calls);
    turns.push(turn);
  }
  if (open !== null) turns.push(close(open, callOrder));
  return turns;
}

/** A user turn that more messages may join. */
interface OpenTurn {
  readonly blocks: Block[];
  readonly tools: Printable[];
  task: Task | null;
}

function join(open: OpenTurn, message: ChatMessage, where: string): OpenTurn {
  open.blocks.push(blockOf(message, where));
  open.tools.push(...(message.tools ?? []));
  open.task ??= message.task ?? null;
  return open;
}

const close = ({ blocks, tools, task }: OpenTurn, callOrder: ReadonlyMap<string, number>): Turn => ({
  role: "user",
  content: userContent(blocks, callOrder),
  reasoning: "",
  calls: [],
  written: null,
  tools,
  responseFormat: null,
  task,
  closed: true,
});

const orderOf = (calls: readonly ToolCall[]): ReadonlyMap<string, number> =>
  new Map(calls.flatMap((call, place) => (call.id ? [[call.id, place]] : [])));

/** The last turn that asks something, or -1: reasoning is kept from it on. In V4.1 a later system message asks, too. */
export const lastAsking = (turns: readonly Turn[], release: Release): number => turns.findLastIndex((_, i) => asks(turns, i, release));

export function asks(turns: readonly Turn[], i: number, release: Release): boolean {
  const { role } = turns[i]!;
  return role === "user" || role === "developer" || (release === "v41" && role === "system" && i > 0);
}

interface Block {
  readonly text: string;
  /** The call that a tool result answers; null for the user's own text. */
  readonly callId: string | null;
}

function blockOf(message: ChatMessage, where: string): Block {
  if (message.role === "user") return { text: textOf(message, where), callId: null };
  return { text: `<tool_result>${toolText(message.content)}</tool_result>`, callId: message.tool_call_id ?? "" };
}

/** Tool results in the order of the calls, the user's own text where it stood. An unknown call counts as the first. */
function userContent(blocks: readonly Block[], callOrder: ReadonlyMap<string, number>): string {
  const place = (block: Block) => callOrder.get(block.callId ?? "") ?? 0;
  const results = blocks.filter((block) => block.callId !== null).sort((a, b) => place(a) - place(b));
  let next = 0;
  return blocks.map((block) => (block.callId === null ? block : results[next++]!).text).join("\n\n");
}

function plainTurn(message: ChatMessage, where: string): Turn {
  return {
    role: message.role as Turn["role"],
    content: textOf(message, where),
    reasoning: message.reasoning_content ?? "",
    calls: message.tool_calls ?? [],
    written: message.written ?? null,
    tools: message.tools ?? [],
    responseFormat: message.response_format ?? null,
    task: message.task ?? null,
    closed: message.wo_eos !== true,
  };
}

function textOf({ content }: ChatMessage, where: string): string {
  if (content === null || content === undefined || typeof content === "string") return content ?? "";
  return content.map((part, i) => partText(part) ?? refusePart(part, `${where}.content[${i}]`)).join("\n\n");
}

const partText = (part: ContentPart): string | null => (part.type === "text" ? (part.text ?? "") : null);

/** A result may hold parts that the model cannot read; the text tells it so. */
const toolText = (content: ChatMessage["content"]): string =>
  Array.isArray(content)
    ? content.map((part: ContentPart) => partText(part) ?? `[Unsupported ${part.type}]`).join("\n\n")
    : ((content ?? "") as string);

function refusePart(part: ContentPart, param: string): never {
  throw refusal(`${param} is of type "${part.type}", which this model cannot read: send text`, { param });
}
