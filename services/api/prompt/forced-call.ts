import { callsOpening } from "../../shared/engine/chat/dialect.ts";
import type { ChatMessage, Release } from "../../shared/engine/chat/messages.ts";
import { invalid } from "../errors.ts";

/** A call that the answer has to be; `name` null: of whichever tool. */
export interface ForcedCall {
  readonly name: string | null;
  /** Where the request says so. */
  readonly param: string;
}

/** Of `tool_choice` as OpenAI's surfaces have it. */
export const forcedBy = (choice: string | { readonly name: string } | undefined): ForcedCall | undefined => {
  if (typeof choice === "object") return { name: choice.name, param: "tool_choice" };
  return choice === "required" ? { name: null, param: "tool_choice" } : undefined;
};

/**
 * The text that an answer begins with which has to be a call: the model goes on where it ends, so it cannot do otherwise. There is no room for
 * thoughts before it. INVALID_REQUEST without a tool to call.
 */
export function openingOf(
  { name, param }: ForcedCall,
  names: readonly string[],
  messages: readonly ChatMessage[],
  release: Release,
): string {
  if (names.length === 0) throw invalid(param, "a call can only be forced with tools");
  if (name !== null && !names.includes(name)) throw invalid(param, `no tool is named ${JSON.stringify(name.slice(0, 100))}`);
  if (messages.at(-1)?.wo_eos === true) throw invalid(param, "cannot force a call in an answer that is begun already");
  return callsOpening(release, name);
}
