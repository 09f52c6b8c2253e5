import type { Printable } from "../../shared/engine/chat/python-json.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import { invalid } from "../errors.ts";
import type { Exactly } from "../prompt/exactly.ts";
import { functionTool } from "../prompt/function-tool.ts";
import type { ToolChoice } from "../prompt/tool-choice.ts";
import type { ResponsesRequest } from "./requests.ts";

/** A function as calls name it. */
export interface CalledName {
  readonly name: string;
  readonly namespace: string | undefined;
}

/** The one name that the model knows a function by: prompts have no namespaces. */
export const nameInPrompt = ({ namespace, name }: CalledName): string => (namespace === undefined ? name : `${namespace}__${name}`);

/** Functions in namespaces, by the names that the model calls them by. */
export function namesInNamespaces({ tools = [] }: ResponsesRequest): Readonly<Record<string, CalledName>> {
  const inside = tools.flatMap((tool) => (tool.type === "namespace" ? tool.tools.map(({ name }) => ({ name, namespace: tool.name })) : []));
  return Object.fromEntries(inside.map((called) => [nameInPrompt(called), called]));
}

/** The tools in the form that prompts are written from. INVALID_REQUEST where two would have one name there, TOO_LARGE beyond REPEATED_BYTES_MAX. */
export function toolsOf({ tools = [] }: ResponsesRequest, exactly: Exactly): readonly Printable[] {
  requireRepeatable(tools);
  const names = new Set<string>();
  const inPrompt = (called: CalledName, { description, parameters }: Described, path: readonly (string | number)[]): Printable => {
    const name = nameInPrompt(called);
    if (called.namespace !== undefined && names.has(name)) throw invalid("tools", `two of them are ${JSON.stringify(name)} to the model`);
    names.add(name);
    return functionTool(name, description, parameters === undefined ? undefined : exactly("tools", ...path, "parameters"));
  };
  const plain = tools.flatMap((tool, i) =>
    tool.type === "function" ? [inPrompt({ name: tool.name, namespace: undefined }, tool, [i])] : [],
  );
  const grouped = tools.flatMap((tool, i) =>
    tool.type === "namespace"
      ? tool.tools.map((one, j) => inPrompt({ name: one.name, namespace: tool.name }, describedWith(tool, one), [i, "tools", j]))
      : [],
  );
  return [...plain, ...grouped];
}

/** What namespaces say of themselves stands in the request once and in the prompt with each function: so much more than was sent. */
const REPEATED_BYTES_MAX = 2 ** 20;

function requireRepeatable(tools: readonly Tool[]): void {
  const repeated = tools.map((tool) =>
    tool.type === "namespace" ? Buffer.byteLength(tool.description ?? "") * Math.max(0, tool.tools.length - 1) : 0,
  );
  if (repeated.reduce((sum, bytes) => sum + bytes, 0) <= REPEATED_BYTES_MAX) return;
  throw new ServingError(
    "TOO_LARGE",
    `tools: the model is told of a namespace with each of its functions: these descriptions, repeated, have more than ${REPEATED_BYTES_MAX} bytes`,
    { param: "tools" },
  );
}

interface Described {
  readonly description?: string | undefined;
  readonly parameters?: unknown;
}

/** What a namespace is for is told with each of its functions. */
const describedWith = (group: Described, { description, parameters }: Described): Described => ({
  parameters,
  description: [group.description, description].filter(Boolean).join("\n") || undefined,
});

export function choiceOf({ tool_choice: choice }: ResponsesRequest): ToolChoice {
  if (typeof choice !== "object" || choice.type === "function") return choice;
  return { mode: choice.mode, allowed: choice.tools.map(({ name }) => name) };
}

/** As a response repeats them. */
export const echoedTools = ({ tools = [] }: ResponsesRequest): readonly object[] =>
  tools.map((tool) => (tool.type === "function" ? echoedFunction(tool) : { ...tool, tools: tool.tools.map(echoedFunction) }));

const echoedFunction = (tool: FunctionTool) => ({
  ...tool,
  description: tool.description ?? null,
  parameters: tool.parameters ?? null,
  strict: tool.strict ?? false,
});
type Tool = NonNullable<ResponsesRequest["tools"]>[number];
type FunctionTool = Extract<Tool, { type: "function" }>;
