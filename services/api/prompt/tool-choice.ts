import { callsOpening } from "../../shared/engine/chat/dialect.ts";
import type { ChatMessage, Release } from "../../shared/engine/chat/messages.ts";
import type { Printable } from "../../shared/engine/chat/python-json.ts";
import { invalid } from "../errors.ts";
import { nameOf } from "./function-tool.ts";

/** Where every surface has it in a request. */
const PARAM = "tool_choice";

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
  for (const name of allowed) requireNamed(name, names);
  return tools.filter((tool) => allowed.has(nameOf(tool)));
}

/** A call that the answer has to be; `name` null: of whichever tool. */
export interface ForcedCall {
  readonly name: string | null;
}

/** Of `tool_choice` as OpenAI's surfaces have it. */
export function forcedBy(choice: ToolChoice): ForcedCall | undefined {
  const mode = isAllowedTools(choice) ? choice.mode : choice;
  if (typeof mode === "object") return { name: mode.name };
  return mode === "required" ? { name: null } : undefined;
}

/**
 * The text that an answer begins with which has to be a call: the model goes on where it ends, so it cannot do otherwise. There is no room for
 * thoughts before it. INVALID_REQUEST without a tool to call.
 */
export function openingOf({ name }: ForcedCall, names: ReadonlySet<string>, messages: readonly ChatMessage[], release: Release): string {
  if (names.size === 0) throw invalid(PARAM, "a call can only be forced with tools");
  if (name !== null) requireNamed(name, names);
  if (messages.at(-1)?.wo_eos === true) throw invalid(PARAM, "cannot force a call when the last message is the assistant's");
  return callsOpening(release, name);
}

function requireNamed(name: string, names: ReadonlySet<string>): void {
  if (!names.has(name)) throw invalid(PARAM, `no tool is named ${JSON.stringify(name.slice(0, 100))}`);
}
