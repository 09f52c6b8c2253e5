import type { Printable } from "../../shared/engine/chat/python-json.ts";
import { invalid } from "../errors.ts";
import { nameOf } from "./function-tool.ts";

/** Which tools an answer may call, or must; absent: any or none. */
export type ToolChoice = "auto" | "none" | "required" | { readonly name: string } | AllowedTools | undefined;

interface AllowedTools {
  readonly allowed: readonly string[];
  readonly mode: "auto" | "required";
}

const isAllowedTools = (choice: ToolChoice): choice is AllowedTools => typeof choice === "object" && "allowed" in choice;

/** Those that the model is told of: what it may not call it need not know. */
export function chosenTools(tools: readonly Printable[], choice: ToolChoice): readonly Printable[] {
  if (choice === "none") return [];
  if (!isAllowedTools(choice)) return tools;
  const names = new Set(tools.map(nameOf));
  const allowed = new Set(choice.allowed);
  for (const name of allowed) requireNamed(name, names, "tool_choice");
  return tools.filter((tool) => allowed.has(nameOf(tool)));
}

/** A call that the answer has to be; `name` null: of whichever tool. */
export interface ForcedCall {
  readonly name: string | null;
  /** Where the request says so. */
  readonly param: string;
}

/** Of `tool_choice` as OpenAI's surfaces have it. */
export function forcedBy(choice: ToolChoice): ForcedCall | undefined {
  const mode = isAllowedTools(choice) ? choice.mode : choice;
  if (typeof mode === "object") return { name: mode.name, param: "tool_choice" };
  return mode === "required" ? { name: null, param: "tool_choice" } : undefined;
}

export function requireNamed(name: string, names: ReadonlySet<string>, param: string): void {
  if (!names.has(name)) throw invalid(param, `no tool is named ${JSON.stringify(name.slice(0, 100))}`);
}
