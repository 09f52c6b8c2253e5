import type { ChatMessage, ContentPart } from "../../shared/engine/chat/messages.ts";
import type { Printable } from "../../shared/engine/chat/python-json.ts";
import { invalid } from "../errors.ts";
import { flatFormat } from "../prompt/answer-format.ts";
import { type Exactly, onDemand } from "../prompt/exactly.ts";
import { functionTool } from "../prompt/function-tool.ts";
import { conversationPrompt, type PromptDeps, type WrittenPrompt } from "../prompt/prompt.ts";
import type { ForcedCall } from "../prompt/tool-choice.ts";
import type { AnthropicBlock, AnthropicConversation } from "./requests.ts";

/** `exact`: the body read so that numbers and key order survive; asked for only where tools need it. */
export async function messagesPrompt(
  deps: PromptDeps,
  tenant: string,
  request: AnthropicConversation,
  exact: () => Printable,
): Promise<WrittenPrompt> {
  const { messages, thinking, output_config } = request;
  const exactly = onDemand(exact);
  const conversation = {
    messages: [...systemMessage(request), ...messages.flatMap((_, i) => chatMessages(request, i, exactly))],
    tools: request.tool_choice?.type === "none" ? [] : toolsOf(request, exactly),
    thinking: thinking === undefined ? deps.model.thinking : thinking.type !== "disabled",
    effort: output_config?.effort,
    forced: forcedOf(request),
    format: flatFormat(output_config?.format, () => exactly("output_config", "format"), "output_config.format"),
  };
  return conversationPrompt(deps, tenant, "messages", conversation);
}

function forcedOf({ tool_choice: choice }: AnthropicConversation): ForcedCall | undefined {
  if (choice?.type !== "any" && choice?.type !== "tool") return undefined;
  return { name: choice.type === "tool" ? choice.name : null };
}

const systemMessage = ({ system }: AnthropicConversation): ChatMessage[] =>
  system === undefined ? [] : [{ role: "system", content: system }];

/** One message becomes several where results of tools are among the text: the encoder merges them into one turn again. */
function chatMessages({ messages }: AnthropicConversation, i: number, exactly: Exactly): ChatMessage[] {
  const { role, content } = messages[i]!;
  const blocks: readonly AnthropicBlock[] = typeof content === "string" ? [{ type: "text", text: content }] : content;
  if (role === "assistant") return [assistantMessage(blocks, i, i === messages.length - 1, exactly)];
  if (blocks.length === 0) throw invalid(`messages[${i}].content`, "must have at least one content block");
  return blocks.map((block, j) => askingMessage(role, block, `messages[${i}].content[${j}]`));
}

function askingMessage(role: "user" | "system", block: AnthropicBlock, path: string): ChatMessage {
  if (block.type === "text") return { role, content: block.text };
  if (block.type === "tool_result" && role === "user")
    return { role: "tool", tool_call_id: block.tool_use_id, content: (block.content as string | ContentPart[] | undefined) ?? "" };
  throw invalid(path, `a block of type ${block.type} is not allowed in a ${role} message`);
}

/** An assistant's last message is the beginning of the answer: the model goes on where it ends. */
function assistantMessage(blocks: readonly AnthropicBlock[], i: number, last: boolean, exactly: Exactly): ChatMessage {
  const stray = blocks.findIndex(({ type }) => type === "tool_result" || (last && type === "tool_use"));
  if (stray >= 0) {
    const why = last ? "a tool_use must be followed by its tool_result" : "a tool_result is not allowed in an assistant message";
    throw invalid(`messages[${i}].content[${stray}]`, why);
  }
  return {
    role: "assistant",
    content: blocks.map((block) => (block.type === "text" ? block.text : "")).join(""),
    reasoning_content: blocks.map((block) => (block.type === "thinking" ? block.thinking : "")).join(""),
    tool_calls: blocks.flatMap((block, j) =>
      block.type === "tool_use"
        ? [{ id: block.id, function: { name: block.name, arguments: exactly("messages", i, "content", j, "input") } }]
        : [],
    ),
    wo_eos: last,
  };
}

const toolsOf = ({ tools = [] }: AnthropicConversation, exactly: Exactly): readonly Printable[] =>
  tools.map(({ name, description }, i) => functionTool(name, description, exactly("tools", i, "input_schema")));
