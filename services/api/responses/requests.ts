import { z } from "zod";
import { effort, jsonSchema, LAST, metadata, ONLY_FUNCTIONS, optional, schemaName, toolChoiceOf, toolName } from "../requests.ts";

/** What clients of OpenAI's Responses API may send (docs/api.md), by the same rules as its chat completions. */
const text = z.object({ type: z.enum(["input_text", "output_text", "text"]), text: z.string() });
const refusal = z.object({ type: z.literal("refusal"), refusal: z.string() });
const part = z.discriminatedUnion("type", [text, refusal], { error: "must be text: this model reads nothing else" });
/** Of a tool's output: the model is told of parts that it cannot see. */
const outputPart = z.object({ type: z.string(), text: optional(z.string()) });
const thought = z.object({ type: z.string(), text: z.string() });
const id = optional(z.string().max(256, LAST));

const message = z.object({
  type: z.literal("message"),
  id,
  role: z.enum(["user", "assistant", "system", "developer"]),
  content: z.union([z.string(), z.array(part)], { error: "must be a string or a list of parts" }),
});
const reasoning = z.object({
  type: z.literal("reasoning"),
  id,
  content: optional(z.array(thought)),
  encrypted_content: optional(z.string()),
});
const functionCall = z.object({
  type: z.literal("function_call"),
  id,
  call_id: z.string(),
  name: z.string(),
  namespace: optional(z.string()),
  arguments: z.string(),
});
const functionCallOutput = z.object({
  type: z.literal("function_call_output"),
  id,
  call_id: z.string(),
  output: z.union([z.string(), z.array(outputPart)], { error: "must be a string or a list of parts" }),
});
const itemReference = z.object({ type: z.literal("item_reference"), id: z.string() });
const readable = "must be a message, reasoning, a function_call, a function_call_output, or an item_reference";

/** A message may leave its type away, and so may a reference. */
const item = z.preprocess(
  (value) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
    const { type, role } = value as { type?: unknown; role?: unknown };
    return (type ?? null) === null ? { ...value, type: role === undefined ? "item_reference" : "message" } : value;
  },
  z.discriminatedUnion("type", [message, reasoning, functionCall, functionCallOutput, itemReference], { error: readable }),
);

const functionTool = z.object({
  type: z.literal("function", { error: ONLY_FUNCTIONS }),
  name: toolName,
  description: optional(z.string()),
  parameters: optional(z.record(z.string(), z.unknown())),
  strict: optional(z.boolean()),
});
const namespace = z.object({
  type: z.literal("namespace"),
  name: toolName,
  description: optional(z.string()),
  tools: z.array(functionTool),
});
const tool = z.discriminatedUnion("type", [functionTool, namespace], {
  error: ({ input }) => ONLY_FUNCTIONS({ input: (input as { type?: unknown } | null)?.type } as z.core.$ZodRawIssue),
});
const namedFunction = z.object({
  type: z.literal("function", { error: ONLY_FUNCTIONS }),
  name: z.string(),
  namespace: optional(z.string()),
});

const LOGPROBS = "message.output_text.logprobs";
/** What may be asked for beside an answer. All but the first are parts of tools that run at a server, which no answer of ours has. */
const INCLUDED = [
  "reasoning.encrypted_content",
  "code_interpreter_call.outputs",
  "computer_call_output.output.image_url",
  "file_search_call.results",
  "message.input_image.image_url",
  "web_search_call.action.sources",
  "web_search_call.results",
];
const included = z
  .string()
  .refine((name) => name !== LOGPROBS, { error: `${LOGPROBS} is not supported here; chat completions have them`, ...LAST })
  .refine((name) => INCLUDED.includes(name), { error: "names nothing that a response can include", ...LAST });

const format = z.discriminatedUnion("type", [
  z.object({ type: z.literal("text") }),
  z.object({ type: z.literal("json_object") }),
  z.object({
    type: z.literal("json_schema"),
    name: schemaName,
    description: optional(z.string()),
    schema: jsonSchema,
    strict: optional(z.boolean()),
  }),
]);

export const responsesRequest = z
  .object({
    model: z.string(),
    input: z.union([z.string(), z.array(item)], { error: "must be a string or a list of items" }),
    instructions: optional(z.string()),
    previous_response_id: optional(z.string()),
    conversation: optional(z.never({ error: "conversations are not supported: send previous_response_id, or the items" })),
    prompt: optional(z.never({ error: "stored prompts are not supported" })),
    tools: optional(z.array(tool)),
    tool_choice: optional(
      toolChoiceOf(
        namedFunction,
        z.object({ type: z.literal("allowed_tools"), mode: z.enum(["auto", "required"]), tools: z.array(namedFunction).min(1) }),
      ),
    ),
    parallel_tool_calls: optional(z.boolean()),
    reasoning: optional(
      z.object({
        effort: optional(effort),
        summary: optional(z.enum(["auto", "concise", "detailed"])),
      }),
    ),
    text: optional(
      z.object({
        format: optional(format),
        verbosity: optional(z.enum(["low", "medium", "high"])),
      }),
    ),
    max_output_tokens: optional(z.int().min(1)),
    temperature: optional(z.number().min(0).max(2)),
    top_p: optional(z.number().gt(0).max(1)),
    top_logprobs: optional(z.literal(0, { error: "only 0 is supported here; chat completions have log probabilities" })),
    truncation: optional(z.enum(["disabled", "auto"])),
    include: optional(z.array(included)),
    store: optional(z.boolean()),
    background: optional(z.boolean()),
    stream: optional(z.boolean()),
    metadata: optional(metadata),
    prompt_cache_key: optional(z.string()),
    safety_identifier: optional(z.string()),
    user: optional(z.string()),
    seed: optional(z.int()),
    deadline_seconds: optional(z.number().gt(0)),
  })
  .refine(({ background, store }) => !(background === true && store === false), {
    path: ["background"],
    error: "needs store: the response could not be retrieved",
  });

export type ResponsesRequest = z.output<typeof responsesRequest>;
/** One thing that was said, thought, called or returned. */
export type Item = Exclude<RequestItem, { type: "item_reference" }>;
export type RequestItem = z.output<typeof item>;
