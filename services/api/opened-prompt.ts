import { ASSISTANT, THINK_END, THINK_START } from "../shared/engine/chat/dialect.ts";
import type { ChatMessage, Release } from "../shared/engine/chat/messages.ts";
import { encodePrompt, type PromptOptions } from "../shared/engine/chat/prompt.ts";

/** A prompt that ends within the assistant's turn. */
export interface OpenedPrompt {
  readonly text: string;
  /** Its thoughts come next. */
  readonly thinks: boolean;
}

/**
 * The prompt of a conversation that waits for an answer, or has one begun at its end. The encoder opens the assistant's turn behind what asks
 * something, as the release's own does. Behind anything else the turn is opened here, in the same way: without its header the model would not
 * know that it is to answer, nor whether to think.
 */
export function openedPrompt(messages: readonly ChatMessage[], options: PromptOptions): OpenedPrompt {
  const { release, thinking } = options;
  const begun = messages.filter(({ wo_eos }, i) => wo_eos === true && i === messages.length - 1);
  const before = begun.length === messages.length ? [NOTHING_SAID] : messages.slice(0, messages.length - begun.length);
  const text = encodePrompt([...before, ...begun], options);
  const thinks = thinking && begun.length === 0; // a begun answer is continued behind its thoughts
  if (isOpened(before, release)) return { text, thinks };
  const header = ASSISTANT + (thinking ? THINK_START : THINK_END);
  const place = begun.length === 0 ? text.length : encodePrompt(before, options).length;
  return { text: text.slice(0, place) + header + text.slice(place), thinks };
}

const NOTHING_SAID: ChatMessage = { role: "system", content: "" };

/** Whether the encoder opens the assistant's turn behind these messages (spec 5.2, 5.4). A reminder comes after the header. */
function isOpened(messages: readonly ChatMessage[], release: Release): boolean {
  const last = messages.findLastIndex(({ role }) => role !== "latest_reminder");
  const role = messages[last]?.role;
  return role === "user" || role === "tool" || (role === "system" && release === "v41" && last > 0);
}
