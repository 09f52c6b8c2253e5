import { z } from "zod";
import { jsonSchema, optional, stopString, toolName } from "../requests.ts";

/** What clients of Anthropic's messages may send (docs/api.md), by the same rules as OpenAI's. */
const textBlock = z.object({ type: z.literal("text"), text: z.string() });
/** Of a result: the model is told of parts that it cannot see. */
const resultPart = z.object({ type: z.string(), text: z.string().optional() });
const readable = "must be a block this model can read: text, thinking, tool_use or tool_result";

const block = z.discriminatedUnion(
  "type",
  [
    textBlock,
    z.object({ type: z.literal("thinking"), thinking: z.string() }),
    z.object({ type: z.literal("redacted_thinking") }),
    z.object({ type: z.literal("tool_use"), id: z.string(), name: z.string(), input: z.record(z.string(), z.unknown()) }),
    z.object({
      type: z.literal("tool_result"),
      tool_use_id: z.string(),
      content: optional(z.union([z.string(), z.array(resultPart)], { error: "must be a string or a list of blocks" })),
    }),
  ],
  { error: readable },
);

const message = z.object({
  role: z.enum(["user", "assistant", "system"]),
  content: z.union([z.string(), z.array(block)], { error: "must be a string or a list of blocks" }),
});

const onlyCustom: z.core.$ZodErrorMap = ({ input }) =>
  `only custom tools, which the client runs and describes, are supported: not ${JSON.stringify(input)?.slice(0, 100)}`;
const tool = z.object({
  type: optional(z.literal("custom", { error: onlyCustom })),
  name: toolName,
  description: optional(z.string()),
  input_schema: z.record(z.string(), z.unknown()),
});

const toolChoice = z.discriminatedUnion("type", [
  z.object({ type: z.literal(["auto", "none", "any"]) }),
  z.object({ type: z.literal("tool"), name: z.string() }),
]);
const outputConfig = z.object({
  effort: optional(z.enum(["low", "medium", "high", "xhigh", "max"])),
  format: optional(z.object({ type: z.literal("json_schema"), schema: jsonSchema })),
});

const conversation = {
  model: z.string(),
  messages: z.array(message).min(1),
  system: optional(z.union([z.string(), z.array(textBlock)], { error: "must be a string or a list of text blocks" })),
  tools: optional(z.array(tool)),
  tool_choice: optional(toolChoice),
  thinking: optional(z.object({ type: z.enum(["enabled", "adaptive", "disabled"]) })),
  output_config: optional(outputConfig),
  mcp_servers: optional(z.tuple([], { error: "MCP servers are not supported: connect to them yourself, and send their tools" })),
};

export const countTokensRequest = z.object(conversation);

export const messagesRequest = z.object({
  ...conversation,
  max_tokens: z.int().min(1),
  temperature: optional(z.number().min(0).max(1)),
  top_p: optional(z.number().gt(0).max(1)),
  top_k: optional(z.int().min(0)),
  stop_sequences: optional(z.array(stopString).max(16)),
  stream: optional(z.boolean()),
});

export type AnthropicConversation = z.output<typeof countTokensRequest>;
export type AnthropicBlock = z.output<typeof block>;
