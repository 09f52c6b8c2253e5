import type { ChatMessage } from "../../shared/engine/chat/messages.ts";
import { encodePrompt, type PromptOptions } from "../../shared/engine/chat/prompt.ts";

/** A prompt that ends within the assistant's turn. */
export interface OpenedPrompt {
  readonly text: string;
  /** Its thoughts come next. */
  readonly thinks: boolean;
}

/** The prompt of a conversation that waits for an answer, or has one begun at its end. */
export function openedPrompt(messages: readonly ChatMessage[], options: Omit<PromptOptions, "opened">): OpenedPrompt {
  const begun = messages.at(-1)?.wo_eos === true;
  const text = encodePrompt(begun && messages.length === 1 ? [NOTHING_SAID, ...messages] : messages, { ...options, opened: true });
  return { text, thinks: options.thinking && !begun }; // a begun answer is continued behind its thoughts
}

const NOTHING_SAID: ChatMessage = { role: "system", content: "" };
