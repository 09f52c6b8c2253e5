import { type Printable, printJson } from "../../shared/engine/chat/python-json.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import { invalid } from "../errors.ts";
import { printVerbatim, Verbatim } from "../http/verbatim.ts";
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
export type NameInPrompt = (called: CalledName) => string;

const nameInPrompt: NameInPrompt = ({ namespace, name }) => (namespace === undefined ? name : `${namespace}__${name}`);

/** Of a request's functions. Who leaves the namespace away, as clients do that know none, means the only one that has the name, where no plain function has it. */
export function nameIn({ tools = [] }: ResponsesRequest): NameInPrompt {
  const plain = new Set(tools.flatMap((tool) => (tool.type === "function" ? [tool.name] : [])));
  const groups = new Map<string, string | null>();
  for (const tool of tools)
    if (tool.type === "namespace") for (const { name } of tool.tools) groups.set(name, groups.has(name) ? null : tool.name);
  return ({ name, namespace }) => {
    const only = plain.has(name) ? undefined : (groups.get(name) ?? undefined);
    return nameInPrompt({ name, namespace: namespace ?? only });
  };
}

/** Functions in namespaces, by the names that the model calls them by. */
export const namesInNamespaces = (request: ResponsesRequest): Readonly<Record<string, CalledName>> =>
  Object.fromEntries(
    functionsOf(request).flatMap(({ called }) => (called.namespace === undefined ? [] : [[nameInPrompt(called), called]])),
  );

/**
 * The tools in the form that prompts are written from, in their order. INVALID_REQUEST where one in a namespace has another's name there, TOO_LARGE beyond
 * REPEATED_BYTES_MAX.
 */
export function toolsOf(request: ResponsesRequest, exactly: Exactly): readonly Printable[] {
  requireRepeatable(request.tools ?? []);
  const functions = functionsOf(request);
  requireApart(functions.map(({ called }) => called));
  return functions.map(({ called, told: { description, parameters }, group, path }) =>
    functionTool(
      nameInPrompt(called),
      [group?.description, description].filter(Boolean).join("\n") || undefined, // what a namespace is for is told with each of its functions
      parameters === undefined ? undefined : exactly("tools", ...path, "parameters"),
    ),
  );
}

interface OneFunction {
  readonly called: CalledName;
  readonly told: FunctionTool;
  /** The namespace it is in; null: none. */
  readonly group: Tool | null;
  /** Where it stands among the tools. */
  readonly path: readonly (string | number)[];
}

const functionsOf = ({ tools = [] }: ResponsesRequest): readonly OneFunction[] =>
  tools.flatMap((tool, i): readonly OneFunction[] =>
    tool.type === "function"
      ? [{ called: { name: tool.name, namespace: undefined }, told: tool, group: null, path: [i] }]
      : tool.tools.map((one, j) => ({
          called: { name: one.name, namespace: tool.name },
          told: one,
          group: tool,
          path: [i, "tools", j],
        })),
  );

/** Plain functions of one name are the client's affair, as in chat completions. */
function requireApart(all: readonly CalledName[]): void {
  const names = new Set(all.flatMap(({ name, namespace }) => (namespace === undefined ? [name] : [])));
  for (const name of all.filter(({ namespace }) => namespace !== undefined).map(nameInPrompt)) {
    if (names.has(name)) throw invalid("tools", `two tools have the name ${JSON.stringify(name)} for the model`);
    names.add(name);
  }
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
    `tools: namespace descriptions are repeated for each function; together they exceed ${REPEATED_BYTES_MAX} bytes`,
    { param: "tools" },
  );
}

export function choiceOf({ tool_choice: choice }: ResponsesRequest, name: NameInPrompt): ToolChoice {
  if (typeof choice !== "object") return choice;
  return choice.type === "function" ? { name: name(choice) } : { mode: choice.mode, allowed: choice.tools.map(name) };
}

/** The parameters of a function, by its place among the tools. */
type ParametersAt = (tool: FunctionTool, ...path: readonly (string | number)[]) => unknown;

/** As a response repeats them. */
export const echoedTools = ({ tools = [] }: ResponsesRequest, at: ParametersAt = ({ parameters }) => parameters): readonly object[] =>
  tools.map((tool, i) =>
    tool.type === "function"
      ? echoedFunction(tool, at(tool, i))
      : { ...tool, tools: tool.tools.map((one, j) => echoedFunction(one, at(one, i, "tools", j))) },
  );

/** The same as JSON, where it has whole numbers that doubles do not hold; else undefined, as where one is without end, which JSON has no word for. */
export function exactTools(request: ResponsesRequest, exactly: Exactly): string | undefined {
  const { tools } = request;
  if (!someNumber(tools, isLarge) || someNumber(tools, isEndless)) return undefined;
  const verbatim: ParametersAt = ({ parameters }, ...path) =>
    someNumber(parameters, isLarge) ? new Verbatim(printJson(exactly("tools", ...path, "parameters"), [",", ":"])) : parameters;
  return printVerbatim(echoedTools(request, verbatim));
}

const isLarge = (number: number): boolean => Math.abs(number) > Number.MAX_SAFE_INTEGER;
const isEndless = (number: number): boolean => !Number.isFinite(number);

const someNumber = (value: unknown, holds: (number: number) => boolean): boolean =>
  typeof value === "number"
    ? holds(value)
    : typeof value === "object" && value !== null && Object.values(value).some((one) => someNumber(one, holds));

const echoedFunction = (tool: FunctionTool, parameters: unknown) => ({
  ...tool,
  description: tool.description ?? null,
  parameters: parameters ?? null,
  strict: tool.strict ?? false,
});
type Tool = NonNullable<ResponsesRequest["tools"]>[number];
type FunctionTool = Extract<Tool, { type: "function" }>;
