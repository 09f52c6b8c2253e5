import { type Delta, joinDeltas, textOf } from "../../shared/engine/chat/delta.ts";
import type { ServingError } from "../../shared/runtime/errors.ts";
import type { Ending, Score } from "../answer/answer.ts";
import type { Surface } from "../answer/surface.ts";
import { openaiErrors } from "../errors.ts";
import type { StreamEvent } from "../http/sse.ts";
import { callId } from "../ids.ts";
import { chatLogprobs, type Logprobs, TextLogprobs } from "./logprobs.ts";

/** What every object of an answer begins with. */
export type Head = (object: string) => object;

/** One answer of a request: its job, and its place among the others. */
interface Place {
  readonly jobId: string;
  readonly index: number;
}

export function chatSurface(head: Head, { jobId, index }: Place, includeUsage: boolean): Surface {
  const held = new Held();
  const chunk = (delta: object, reason: string | null, logprobs: Logprobs | null) => ({
    ...head("chat.completion.chunk"),
    choices: [{ index, delta, logprobs, finish_reason: reason }],
    ...(includeUsage ? { usage: null } : {}),
  });
  return {
    ...openaiStream(head, "chat.completion.chunk", includeUsage),
    opening: () => events([chunk({ role: "assistant", content: "" }, null, null)]),
    more: (deltas, scores) => {
      held.add(scores);
      return events(deltas.map((delta) => chunk(chatDelta(delta, jobId), null, chatLogprobs(held.take()))));
    },
    closing: (end) => events([chunk({}, end.reason, chatLogprobs(held.take()))]),
    whole: (answers) => ({
      ...head("chat.completion"),
      choices: answers.map(({ jobId, index, deltas, scores, end }) => ({
        index,
        message: chatMessage(deltas, jobId),
        logprobs: chatLogprobs(scores),
        finish_reason: end.reason,
      })),
      usage: usageOf(answers.map(({ end }) => end)),
    }),
  };
}

export function completionSurface(head: Head, { index }: Place, includeUsage: boolean): Surface {
  const held = new Held();
  const tokens = new TextLogprobs();
  const chunk = (text: string, reason: string | null) => ({
    ...head("text_completion"),
    choices: [{ index, text, logprobs: tokens.take(held.take()), finish_reason: reason }],
    ...(includeUsage ? { usage: null } : {}),
  });
  return {
    ...openaiStream(head, "text_completion", includeUsage),
    opening: () => [],
    more: (deltas, scores) => {
      held.add(scores);
      return events(deltas.map((delta) => chunk(textOf(delta), null)));
    },
    closing: (end) => events([chunk("", end.reason)]),
    whole: (answers) => ({
      ...head("text_completion"),
      choices: answers.map(({ index, deltas, scores, end }) => ({
        index,
        text: joinDeltas(deltas).content,
        logprobs: new TextLogprobs().take(scores),
        finish_reason: end.reason,
      })),
      usage: usageOf(answers.map(({ end }) => end)),
    }),
  };
}

const openaiStream = (head: Head, object: string, includeUsage: boolean) => ({
  claimed: () => [],
  progress: () => [],
  usage: (ends: readonly Ending[]) => (includeUsage ? events([{ ...head(object), choices: [], usage: usageOf(ends) }]) : []),
  farewell: [{ data: "[DONE]" }],
  failure: (error: ServingError) => events([openaiErrors.body(error)]),
  heartbeat: null,
});

const events = (chunks: readonly object[]): StreamEvent[] => chunks.map((chunk) => ({ data: JSON.stringify(chunk) }));

/** Tokens whose text is not certain yet wait for the next chunk. */
class Held {
  #scores: Score[] = [];

  add(scores: readonly Score[]): void {
    this.#scores.push(...scores);
  }

  take(): readonly Score[] {
    return this.#scores.splice(0);
  }
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

export function chatMessage(deltas: readonly Delta[], jobId: string): object {
  const { reasoning, content, toolCalls } = joinDeltas(deltas);
  return {
    role: "assistant",
    content: content === "" && toolCalls.length > 0 ? null : content,
    refusal: null,
    ...(reasoning === "" ? {} : { reasoning_content: reasoning }),
    ...(toolCalls.length === 0
      ? {}
      : { tool_calls: toolCalls.map((call, i) => ({ id: callId(jobId, i), type: "function", function: call })) }),
  };
}

/** The prompt is counted once, however many answers it has. */
function usageOf(ends: readonly Ending[]): object {
  const { promptTokens, cachedTokens } = ends[0]!.usage;
  const completionTokens = sum(ends.map(({ usage }) => usage.completionTokens));
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
    completion_tokens_details: { reasoning_tokens: sum(ends.map(({ reasoningTokens }) => reasoningTokens)) },
    prompt_cache_hit_tokens: cachedTokens,
    prompt_cache_miss_tokens: promptTokens - cachedTokens,
  };
}

const sum = (counts: readonly number[]): number => counts.reduce((total, count) => total + count, 0);
