import type { ChatMessage, ToolCall } from "../../shared/engine/chat/messages.ts";
import type { ServingError } from "../../shared/runtime/errors.ts";
import { invalid } from "../errors.ts";
import { itemId } from "../ids.ts";
import { knownRole } from "../openai/messages.ts";
import type { Item } from "./requests.ts";
import type { NameInPrompt } from "./tools.ts";

/**
 * The conversation as the model knows it: what an assistant thought, said and called in a row is one turn. INVALID_REQUEST names the item by
 * its place in the request, which brought all but the first `earlier`. `name`: as the model knows what is called.
 */
export function chatMessages(items: readonly Item[], earlier: number, name: NameInPrompt): ChatMessage[] {
  const messages: ChatMessage[] = [];
  const calls = new Set<string>();
  let turn: AssistantTurn | null = null;
  for (const [i, item] of items.entries()) {
    if (!isAssistants(item)) {
      if (item.type === "function_call_output" && !calls.has(item.call_id)) throw unknownCall(i - earlier, item.call_id);
      messages.push(askingMessage(item));
      turn = null;
      continue;
    }
    if (item.type === "function_call") calls.add(item.call_id);
    if (turn === null || !turn.takes(item)) {
      turn = new AssistantTurn(name);
      messages.push(turn.message);
    }
    turn.take(item);
  }
  if (items.length === 0) throw invalid("input", "must not be empty");
  if (turn !== null) throw invalid("input", "the last item is the assistant's: end with a user message or a function_call_output");
  return messages;
}

const unknownCall = (place: number, callId: string): ServingError =>
  invalid(`input[${place}].call_id`, `no function_call before it has the call_id ${JSON.stringify(callId.slice(0, 100))}`);

type AssistantItem = Extract<Item, { type: "reasoning" | "function_call" }> | MessageItem;
type MessageItem = Extract<Item, { type: "message" }>;

const isAssistants = (item: Item): item is AssistantItem =>
  item.type === "reasoning" || item.type === "function_call" || (item.type === "message" && item.role === "assistant");

/** In the order of a turn. */
const ORDER = ["reasoning", "message", "function_call"] as const;

class AssistantTurn {
  readonly #name: NameInPrompt;
  readonly #calls: ToolCall[] = [];
  readonly message: { role: "assistant"; content: string; reasoning_content: string; tool_calls: ToolCall[] } = {
    role: "assistant",
    content: "",
    reasoning_content: "",
    tool_calls: this.#calls,
  };
  #place = 0;

  constructor(name: NameInPrompt) {
    this.#name = name;
  }

  takes({ type }: AssistantItem): boolean {
    return type === "message" ? this.#place < ORDER.indexOf("message") : ORDER.indexOf(type) >= this.#place;
  }

  take(item: AssistantItem): void {
    this.#place = ORDER.indexOf(item.type);
    if (item.type === "message") this.message.content = textOf(item);
    else if (item.type === "reasoning") this.message.reasoning_content += thoughtOf(item);
    else this.#calls.push({ id: item.call_id, function: { name: this.#name(item), arguments: item.arguments } });
  }
}

function askingMessage(item: Exclude<Item, AssistantItem> | MessageItem): ChatMessage {
  if (item.type === "message") return { role: knownRole(item.role), content: textOf(item) };
  const { output } = item;
  const content = typeof output === "string" ? output : output.map((part) => (part.text === undefined ? part : { ...part, type: "text" }));
  return { role: "tool", tool_call_id: item.call_id, content: content as NonNullable<ChatMessage["content"]> };
}

const textOf = ({ content }: MessageItem): string =>
  typeof content === "string" ? content : content.map((part) => (part.type === "refusal" ? part.refusal : part.text)).join("\n\n");

/** Clients may return no more than the form that they cannot read. */
const thoughtOf = ({ content = [], encrypted_content = "" }: Extract<Item, { type: "reasoning" }>): string =>
  content.length > 0 ? content.map(({ text }) => text).join("") : unsealed(encrypted_content);

/** Not secret, only opaque: what the model thought is the client's to see. Other servers' seals say nothing here. */
export const sealed = (thought: string): string => SEAL + Buffer.from(thought).toString("base64");
const unsealed = (text: string): string => (text.startsWith(SEAL) ? Buffer.from(text.slice(SEAL.length), "base64").toString("utf8") : "");
const SEAL = "longshore.1.";

/** What a response was asked, each with an id of its own. Of equal ids, which clients may send, the first stays. */
export function identified(items: readonly Item[], jobId: string): readonly (Item & { readonly id: string })[] {
  const ids = new Set<string>();
  return items.map((item, i) => {
    const id = item.id === undefined || ids.has(item.id) ? itemId("item", jobId, i) : item.id;
    ids.add(id);
    return { ...item, id };
  });
}

/** As the API lists them: by its id a page goes on behind each, and its content is in parts. */
export const listedItems = (items: readonly Item[], jobId: string) => identified(items, jobId).map(listedItem);

function listedItem(item: Item & { readonly id: string }) {
  const listed = { ...item, status: "completed" };
  if (item.type !== "message" || typeof item.content !== "string") return listed;
  const type = item.role === "assistant" ? "output_text" : "input_text";
  return { ...listed, content: [{ type, text: item.content, ...(type === "output_text" ? { annotations: [] } : {}) }] };
}
