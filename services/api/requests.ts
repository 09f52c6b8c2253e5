import { z } from "zod";
import { TOP_LOGPROBS_MAX } from "../shared/engine/sampling/logprobs.ts";
import { refusal } from "../shared/runtime/errors.ts";
import { requireBounded } from "./bounded.ts";

/** Absent and null mean the same. */
export const optional = <T extends z.ZodType>(type: T) => type.nullish().transform((value) => value ?? undefined);

/** What clients may send (docs/api.md). Unknown fields are dropped, so that nothing unchecked goes further; a known field of the wrong type is a 400 that names it. */
const text = z.string();
/** Half a surrogate pair has no UTF-8, which is what the record keeps. */
export const stopString = text
  .min(1)
  .max(1_000)
  .refine((value) => !/\p{Surrogate}/u.test(value), { error: "has half a surrogate pair: send valid Unicode" });
const part = z.object({ type: z.string(), text: z.string().optional(), refusal: optional(z.string()) });
/** By name, where there is one: clients offer tools of several kinds, and say which to switch off. */
export const ONLY_FUNCTIONS: z.core.$ZodErrorMap = ({ input }) =>
  `only functions, which the client runs, are supported${typeof input === "string" ? `: not ${JSON.stringify(input.slice(0, 100))}` : ""}`;
const toolCall = z.object({
  id: z.string().optional(),
  type: z.literal("function").default("function"),
  function: z.object({ name: z.string(), arguments: z.union([z.string(), z.record(z.string(), z.unknown()), z.null()]).default("") }),
});
const message = z.object({
  role: z.enum(["system", "developer", "user", "assistant", "tool", "latest_reminder"]),
  content: z.union([text, z.array(part), z.null()], { error: "must be a string or a list of parts" }).optional(),
  reasoning_content: z.union([text, z.null()]).optional(),
  tool_calls: z.union([z.array(toolCall), z.null()]).optional(),
  tool_call_id: z.string().optional(),
  prefix: optional(z.boolean()),
});
const tool = z.object({
  type: z.literal("function", { error: ONLY_FUNCTIONS }),
  function: z.object({ name: z.string(), description: z.string().optional(), parameters: z.unknown().optional() }),
});
/** Of each check on what lies in a list: zod goes on behind a value that is of the right type, to the next problem of a million. */
export const LAST = { abort: true };
export const toolName = z.string().min(1, LAST).max(128, LAST);

/** Of both surfaces of OpenAI's, each with its own form of what names a function. */
export const toolChoiceOf = <Named extends z.core.$ZodTypeDiscriminable, Allowed extends z.core.$ZodTypeDiscriminable>(
  named: Named,
  allowed: Allowed,
) =>
  z.union([z.enum(["auto", "none", "required"]), z.discriminatedUnion("type", [named, allowed], { error: CHOICES })], { error: CHOICES });
const CHOICES = "only auto, none, required, a named function and allowed_tools are supported";
const namedFunction = z.object({ type: z.literal("function", { error: ONLY_FUNCTIONS }), function: z.object({ name: z.string() }) });
const toolChoice = toolChoiceOf(
  namedFunction,
  z.object({
    type: z.literal("allowed_tools"),
    allowed_tools: z.object({ mode: z.enum(["auto", "required"]), tools: z.array(namedFunction).min(1) }),
  }),
);

/** Answers to one prompt, and tokens with a bias of their own. */
export const CHOICES_MAX = 16;
const BIASES_MAX = 1_024;
/** A record whose members are counted before any is looked at. */
const membersUpTo = <T extends z.ZodRecord>(most: number, error: string, record: T) =>
  z.preprocess((value, context) => {
    if (typeof value === "object" && value !== null && Object.keys(value).length > most)
      context.addIssue({ code: "custom", message: error });
    return value;
  }, record);
const logitBias = membersUpTo(
  BIASES_MAX,
  `must name at most ${BIASES_MAX} tokens`,
  z.record(z.string().regex(/^\d{1,9}$/, { error: "must name tokens by their ids" }), z.number().min(-100).max(100)),
);
const alternatives = z.int().min(0).max(TOP_LOGPROBS_MAX);

const generation = {
  model: z.string(),
  max_tokens: optional(z.int().min(1)),
  temperature: optional(z.number().min(0).max(2)),
  top_p: optional(z.number().gt(0).max(1)),
  top_k: optional(z.int().min(-1)), // which is 0 in the words of some clients: no bound
  min_p: optional(z.number().min(0).max(1)),
  seed: optional(z.int()),
  stop: optional(
    z.union([stopString, z.array(stopString).max(4)], { error: "must be a string of 1 to 1000 characters, or a list of up to four" }),
  ),
  stream: optional(z.boolean()),
  stream_options: optional(z.object({ include_usage: optional(z.boolean()) })),
  deadline_seconds: optional(z.number().gt(0)),
  n: optional(z.int().min(1).max(CHOICES_MAX)),
  presence_penalty: optional(z.number().min(-2).max(2)),
  frequency_penalty: optional(z.number().min(-2).max(2)),
  logit_bias: optional(logitBias),
};

/** What an answer may be held to; grammar/schema.ts has the word on the schema itself. */
export const jsonSchema = z.record(z.string(), z.unknown(), { error: "must be a JSON Schema" });
export const schemaName = z.string().regex(/^[\w-]{1,64}$/, { error: "must be 1 to 64 letters, digits, _ or -" });
export const effort = z.enum(["none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra"]);
/** What a client keeps beside a batch or a response. */
export const metadata = membersUpTo(
  16,
  "may have at most 16 pairs",
  z.record(z.string().max(64, { error: "has a key of more than 64 characters" }), z.string().max(512)),
);
const responseFormat = z.discriminatedUnion("type", [
  z.object({ type: z.literal("text") }),
  z.object({ type: z.literal("json_object") }),
  z.object({
    type: z.literal("json_schema"),
    json_schema: z.object({ name: schemaName, schema: jsonSchema, strict: optional(z.boolean()) }),
  }),
]);

export const chatRequest = z.object({
  ...generation,
  messages: z.array(message).min(1),
  logprobs: optional(z.boolean()),
  top_logprobs: optional(alternatives),
  max_completion_tokens: optional(z.int().min(1)),
  tools: optional(z.array(tool)),
  tool_choice: optional(toolChoice),
  response_format: optional(responseFormat),
  thinking: optional(z.object({ type: z.enum(["enabled", "disabled"]) })),
  reasoning_effort: optional(effort),
  functions: optional(z.tuple([], { error: "functions are not supported: send them as tools" })),
  web_search_options: optional(z.never({ error: "searching the web is not supported" })),
  modalities: optional(z.array(z.literal("text", { error: "only text is supported", ...LAST }))),
});

/** Of a list of prompts. */
const onePrompt: z.core.$ZodErrorMap = ({ input }) =>
  Array.isArray(input) || typeof input === "string"
    ? "only one prompt a request is supported: send each in a request of its own, or all as lines of a batch"
    : undefined;

export const completionRequest = z.object({
  ...generation,
  logprobs: optional(alternatives),
  prompt: z.union([text, z.array(z.int({ ...LAST, error: onePrompt }).min(0, LAST)).min(1), z.tuple([text]).transform(([only]) => only)], {
    error: "must be a string or a list of token ids",
  }),
  best_of: optional(z.literal(1, { error: "only best_of = 1 is supported" })),
  echo: optional(z.literal(false, { error: "echo is not supported yet" })),
  suffix: optional(z.literal("", { error: "suffix is not supported" })),
});

/** A job is one answer. */
const one = { n: optional(z.literal(1, { error: "only n = 1 is supported in a job" })) };
export const jobRequest = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("chat"), request: chatRequest.extend(one) }),
  z.object({ kind: z.literal("completion"), request: completionRequest.extend(one) }),
]);

export type ChatRequest = z.output<typeof chatRequest>;
export type CompletionRequest = z.output<typeof completionRequest>;
export type GenerationRequest = Partial<Pick<ChatRequest, keyof typeof generation>> & {
  readonly max_completion_tokens?: number | undefined;
  readonly logprobs?: boolean | number | undefined;
  readonly top_logprobs?: number | undefined;
};

/** Lists are left at their first problem (LAST): a million would take 4 us each. What zod's own `validate` sets, which tells no problem; no type has it. */
const FIRST_PROBLEM = { abortEarly: true } as z.core.ParseContext<z.core.$ZodIssue>;

/** The body as `schema` understands it; INVALID_REQUEST with the path of the first problem as `param`; TOO_LARGE for one of too many parts. */
export function parseBody<T extends z.ZodType>(schema: T, body: unknown): z.output<T> {
  if (body === undefined) throw refusal("the request has no body: send JSON", { apiCode: "invalid_json" });
  requireBounded(body);
  const parsed = schema.safeParse(body, FIRST_PROBLEM);
  if (parsed.success) return parsed.data;
  const { path, ...problem } = deepest(parsed.error.issues[0]!);
  const missing = problem.code !== "custom" && isMissing(body, path);
  const message = missing ? "is missing" : problem.message;
  const param = path.reduce<string>(
    (dotted, key) => (typeof key === "number" ? `${dotted}[${key}]` : dotted === "" ? String(key) : `${dotted}.${String(key)}`),
    "",
  );
  const apiCode = missing ? "missing_required_parameter" : /not supported|only /.test(message) ? "unsupported_parameter" : "invalid_value";
  throw refusal(param === "" ? message : `${param}: ${message}`, {
    apiCode,
    ...(param === "" ? {} : { param }),
  });
}

const isMissing = (body: unknown, path: readonly PropertyKey[]): boolean =>
  path.reduce<unknown>((value, key) => (value as Readonly<Record<PropertyKey, unknown>> | null | undefined)?.[key], body) === undefined;

type Problem = Pick<z.core.$ZodIssue, "code" | "path" | "message">;

/** Of a union's branches, the problem of the one that came furthest. */
function deepest(issue: z.core.$ZodIssue): Problem {
  if (issue.code !== "invalid_union") return issue;
  const [inner] = issue.errors.flatMap((branch) => branch.slice(0, 1).map(deepest)).sort((a, b) => b.path.length - a.path.length);
  return inner === undefined || inner.path.length === 0 ? issue : { ...inner, path: [...issue.path, ...inner.path] };
}
