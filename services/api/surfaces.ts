import type { JobRequest, Usage } from "../shared/bus/contract.ts";
import type { Delta } from "../shared/engine/chat/output.ts";
import type { ServingError } from "../shared/runtime/errors.ts";
import type { Ending } from "./answer.ts";
import { messagesSurface } from "./anthropic-surface.ts";
import { openaiErrors } from "./errors.ts";
import type { StreamEvent } from "./sse.ts";
import { answerId, type View } from "./view.ts";

/**
 * How one kind of answer is written down, in one piece and as a stream of events (docs/api.md). One object per reader, who shows it every
 * record from the first one on, so that the same records make the same events.
 */
export interface Surface {
  /** Before anything was generated. */
  opening(request: JobRequest): StreamEvent[];
  /** The prompt is on its way. */
  progress(prefill: { readonly done: number; readonly total: number }): StreamEvent[];
  /** What one record adds. */
  more(deltas: readonly Delta[]): StreamEvent[];
  closing(end: Ending): StreamEvent[];
  /** Behind the last record. */
  readonly farewell: readonly StreamEvent[];
  failure(error: ServingError): StreamEvent;
  /** Sent while nothing happens; null: a comment. */
  readonly heartbeat: StreamEvent | null;
  whole(deltas: readonly Delta[], end: Ending): object;
}

export interface Identity {
  readonly jobId: string;
  readonly model: string;
  readonly view: View;
  readonly fingerprint: string;
}

export function surfaceOf({ jobId, model, view, fingerprint }: Identity, includeUsage: boolean): Surface {
  const head = (object: string) => ({
    id: answerId(view.surface, jobId),
    object,
    created: view.created,
    model,
    system_fingerprint: fingerprint,
  });
  switch (view.surface) {
    case "chat":
      return chatSurface(head, jobId, includeUsage);
    case "completion":
      return completionSurface(head, includeUsage);
    case "messages":
      return messagesSurface(jobId, model);
  }
}

type Head = (object: string) => object;

const openaiStream = {
  progress: () => [],
  farewell: [{ data: "[DONE]" }],
  failure: (error: ServingError) => ({ data: JSON.stringify(openaiErrors.body(error)) }),
  heartbeat: null,
};

const events = (chunks: readonly object[]): StreamEvent[] => chunks.map((chunk) => ({ data: JSON.stringify(chunk) }));

function chatSurface(head: Head, jobId: string, includeUsage: boolean): Surface {
  const chunk = (delta: object, reason: string | null) => ({
    ...head("chat.completion.chunk"),
    choices: [{ index: 0, delta, logprobs: null, finish_reason: reason }],
    ...(includeUsage ? { usage: null } : {}),
  });
  const usage = (end: Ending) => ({ ...head("chat.completion.chunk"), choices: [], usage: usageOf(end.usage) });
  return {
    ...openaiStream,
    opening: () => events([chunk({ role: "assistant", content: "" }, null)]),
    more: (deltas) => events(deltas.map((delta) => chunk(chatDelta(delta, jobId), null))),
    closing: (end) => events([chunk({}, end.reason), ...(includeUsage ? [usage(end)] : [])]),
    whole: (deltas, end) => ({
      ...head("chat.completion"),
      choices: [{ index: 0, message: chatMessage(deltas, jobId), logprobs: null, finish_reason: end.reason }],
      usage: usageOf(end.usage),
    }),
  };
}

function completionSurface(head: Head, includeUsage: boolean): Surface {
  const choice = (text: string, reason: string | null) => ({ index: 0, text, logprobs: null, finish_reason: reason });
  const chunk = (text: string, reason: string | null) => ({
    ...head("text_completion"),
    choices: [choice(text, reason)],
    ...(includeUsage ? { usage: null } : {}),
  });
  const usage = (end: Ending) => ({ ...head("text_completion"), choices: [], usage: usageOf(end.usage) });
  return {
    ...openaiStream,
    opening: () => [],
    more: (deltas) => events(deltas.map((delta) => chunk("text" in delta ? delta.text : "", null))),
    closing: (end) => events([chunk("", end.reason), ...(includeUsage ? [usage(end)] : [])]),
    whole: (deltas, end) => ({
      ...head("text_completion"),
      choices: [choice(textOf(deltas, "content"), end.reason)],
      usage: usageOf(end.usage),
    }),
  };
}

function chatDelta(delta: Delta, jobId: string): object {
  switch (delta.type) {
    case "reasoning":
      return { reasoning_content: delta.text };
    case "content":
      return { content: delta.text };
    case "call":
      return {
        tool_calls: [
          { index: delta.index, id: callId(jobId, delta.index), type: "function", function: { name: delta.name, arguments: "" } },
        ],
      };
    case "arguments":
      return { tool_calls: [{ index: delta.index, function: { arguments: delta.text } }] };
  }
}

function chatMessage(deltas: readonly Delta[], jobId: string): object {
  const reasoning = textOf(deltas, "reasoning");
  const content = textOf(deltas, "content");
  const calls = deltas.flatMap((delta) => (delta.type === "call" ? [delta] : []));
  return {
    role: "assistant",
    content: content === "" && calls.length > 0 ? null : content,
    refusal: null,
    ...(reasoning === "" ? {} : { reasoning_content: reasoning }),
    ...(calls.length === 0 ? {} : { tool_calls: calls.map(({ index, name }) => toolCall(deltas, jobId, index, name)) }),
  };
}

const toolCall = (deltas: readonly Delta[], jobId: string, index: number, name: string) => ({
  id: callId(jobId, index),
  type: "function",
  function: {
    name,
    arguments: deltas.map((delta) => (delta.type === "arguments" && delta.index === index ? delta.text : "")).join(""),
  },
});

/** The same on every replica and for every reader. */
const callId = (jobId: string, index: number): string => `call_${jobId.slice("job_".length)}_${index}`;

const textOf = (deltas: readonly Delta[], type: "reasoning" | "content"): string =>
  deltas.map((delta) => (delta.type === type ? delta.text : "")).join("");

const usageOf = ({ promptTokens, completionTokens, cachedTokens }: Usage) => ({
  prompt_tokens: promptTokens,
  completion_tokens: completionTokens,
  total_tokens: promptTokens + completionTokens,
  prompt_tokens_details: { cached_tokens: cachedTokens },
  prompt_cache_hit_tokens: cachedTokens,
  prompt_cache_miss_tokens: promptTokens - cachedTokens,
});
