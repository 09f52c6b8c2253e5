import { callsOpening } from "../../shared/engine/chat/dialect.ts";
import type { ChatMessage, Release } from "../../shared/engine/chat/messages.ts";
import { invalid } from "../errors.ts";
import { type ForcedCall, requireNamed } from "./tool-choice.ts";

/**
 * The text that an answer begins with which has to be a call: the model goes on where it ends, so it cannot do otherwise. There is no room for
 * thoughts before it. INVALID_REQUEST without a tool to call.
 */
export function openingOf(
  { name, param }: ForcedCall,
  names: ReadonlySet<string>,
  messages: readonly ChatMessage[],
  release: Release,
): string {
  if (names.size === 0) throw invalid(param, "a call can only be forced with tools");
  if (name !== null) requireNamed(name, names, param);
  if (messages.at(-1)?.wo_eos === true) throw invalid(param, "cannot force a call in an answer that is begun already");
  return callsOpening(release, name);
}
