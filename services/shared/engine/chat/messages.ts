import type { Printable } from "./python-json.ts";

/**
 * Conversations as the chat encoder takes them: the fields of the chat API plus the few that only the models know. The
 * reader of requests checks their form; the encoder refuses what cannot be written as a prompt.
 */
export interface ChatMessage {
  readonly role: "system" | "developer" | "user" | "assistant" | "tool" | "latest_reminder";
  readonly content?: string | null | readonly ContentPart[];
  /** Of an assistant: its reasoning before the answer. */
  readonly reasoning_content?: string | null;
  readonly tool_calls?: readonly ToolCall[] | null;
  /** Of an assistant: content and calls exactly as the model wrote them, if known. Replaces both. */
  readonly written?: string;
  /** Of a tool: the call it answers. */
  readonly tool_call_id?: string | null;
  /** OpenAI's form; only the `function` of each is written. Read them with `readJson`, or 1.0 becomes 1. */
  readonly tools?: readonly Printable[] | null;
  readonly response_format?: Printable;
  /** Asks for one of the model's small side jobs instead of an answer. */
  readonly task?: Task | null;
  /** The answer is not finished: the model continues it. */
  readonly wo_eos?: boolean;
}

export interface ContentPart {
  readonly type: string;
  readonly text?: string;
}

export interface ToolCall {
  readonly id?: string | null;
  readonly function: {
    readonly name: string;
    /** JSON text, or the object itself; "" and null mean no arguments. */
    readonly arguments?: Printable;
  };
}

export type Task = (typeof tasks)[number];
export const tasks = ["action", "query", "authority", "domain", "task", "title"] as const;

/**
 * Which of the family's three prompt formats a checkpoint was trained on. preview and 0731 differ only in effort texts.
 */
export type Release = (typeof releases)[number];
export const releases = ["preview", "0731", "v41"] as const;

/** How long to think: the API's words, or V4.1's budget of 1 to 100. `null`: the release's default. */
export type Effort = "low" | "high" | "max" | number;
