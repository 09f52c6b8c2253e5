import { blockOf, type Delta, textOf } from "../../shared/engine/chat/delta.ts";
import type { Ending } from "../answer/answer.ts";
import type { Surface } from "../answer/surface.ts";
import type { StreamEvent } from "../http/sse.ts";
import { Verbatim } from "../http/verbatim.ts";
import { answerId, toolUseId } from "../ids.ts";
import { anthropicErrors } from "./errors.ts";

/** An answer as a message of blocks: what was thought, what was said, the tools to use. */
export function messagesSurface(jobId: string, model: string): Surface {
  const blocks = new BlockWriter(jobId);
  const message = (content: readonly object[], end: Ending | null, usage: object) => ({
    id: answerId("messages", jobId),
    type: "message",
    role: "assistant",
    model,
    content,
    stop_reason: end === null ? null : stopReason(end),
    stop_sequence: end?.stop ?? null,
    usage,
  });
  return {
    heartbeat: ping,
    farewell: [],
    claimed: () => [],
    // What of the prompt was cached is known at the end of prefill; the message_delta at the end says so.
    opening: ({ promptTokens }) => {
      const usage = usageOf({ usage: { promptTokens, cachedTokens: 0, completionTokens: 0 }, reasoningTokens: 0 });
      return [event("message_start", { message: message([], null, usage) }), ping];
    },
    progress: ({ done, total }) => [event("ping", { prefill: { done, total } })],
    more: (deltas) => deltas.flatMap((delta) => blocks.push(delta)),
    closing: (end) => [
      ...blocks.close(),
      event("message_delta", { delta: { stop_reason: stopReason(end), stop_sequence: end.stop }, usage: usageOf(end) }),
      event("message_stop", {}),
    ],
    usage: () => [], // message_delta has it
    failure: (error) => [{ name: "error", data: JSON.stringify(anthropicErrors.body(error)) }],
    whole: ([answer]) => message(wholeBlocks(answer!.deltas, jobId), answer!.end, usageOf(answer!.end)),
  };
}

const event = (type: string, fields: object): StreamEvent => ({ name: type, data: JSON.stringify({ type, ...fields }) });
const ping = event("ping", {});

/** Streams one block after the other: a delta that belongs to another than the open one closes it. */
class BlockWriter {
  readonly #jobId: string;
  #open: { readonly index: number; readonly key: string } | null = null;
  #next = 0;

  constructor(jobId: string) {
    this.#jobId = jobId;
  }

  push(delta: Delta): StreamEvent[] {
    const key = blockOf(delta);
    if (this.#open?.key === key) return [this.#delta(delta)];
    const closed = this.close();
    this.#open = { index: this.#next++, key };
    const started = event("content_block_start", { index: this.#open.index, content_block: emptyBlock(delta, this.#jobId) });
    return [...closed, started, ...(delta.type === "call" ? [] : [this.#delta(delta)])];
  }

  close(): StreamEvent[] {
    if (this.#open === null) return [];
    const { index, key } = this.#open;
    this.#open = null;
    const signature = event("content_block_delta", { index, delta: { type: "signature_delta", signature: signatureOf(this.#jobId) } });
    return [...(key === "reasoning" ? [signature] : []), event("content_block_stop", { index })];
  }

  #delta(delta: Delta): StreamEvent {
    return event("content_block_delta", { index: this.#open!.index, delta: blockDelta(delta) });
  }
}

function emptyBlock(delta: Delta, jobId: string): object {
  if (delta.type === "reasoning") return { type: "thinking", thinking: "", signature: "" };
  if (delta.type === "content") return { type: "text", text: "" };
  return toolUse(jobId, delta, {});
}

function blockDelta(delta: Delta): object {
  switch (delta.type) {
    case "reasoning":
      return { type: "thinking_delta", thinking: delta.text };
    case "content":
      return { type: "text_delta", text: delta.text };
    default:
      return { type: "input_json_delta", partial_json: textOf(delta) };
  }
}

function wholeBlocks(deltas: readonly Delta[], jobId: string): object[] {
  const runs: { readonly first: Delta; text: string }[] = [];
  for (const delta of deltas) {
    const last = runs.at(-1);
    if (last !== undefined && blockOf(last.first) === blockOf(delta)) last.text += textOf(delta);
    else runs.push({ first: delta, text: textOf(delta) });
  }
  return runs.map(({ first, text }) => {
    if (first.type === "reasoning") return { type: "thinking", thinking: text, signature: signatureOf(jobId) };
    return first.type === "content" ? { type: "text", text } : toolUse(jobId, first, inputOf(text));
  });
}

const toolUse = (jobId: string, delta: Delta, input: object): object => ({
  type: "tool_use",
  id: toolUseId(jobId, "index" in delta ? delta.index : 0),
  name: "name" in delta ? delta.name : "",
  input,
  caller: { type: "direct" },
});

/** As the model wrote it, to the last digit. A call that was cut off has no complete input; what came of it is shown under the name that the prompt would give it, too. */
function inputOf(text: string): object {
  try {
    return new Verbatim(text);
  } catch {
    return { arguments: text };
  }
}

/** Clients hand thoughts back only if they are signed. Nothing here depends on it: it says where they are from. */
const signatureOf = (jobId: string): string => jobId;

const stopReason = ({ reason, stop }: Ending): string => {
  if (stop !== null) return "stop_sequence";
  return { stop: "end_turn", length: "max_tokens", tool_calls: "tool_use" }[reason];
};

/** `input_tokens` counts what had to be computed; the three of the input add up to the prompt. */
const usageOf = ({ usage, reasoningTokens }: Pick<Ending, "usage" | "reasoningTokens">) => ({
  input_tokens: usage.promptTokens - usage.cachedTokens,
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: usage.cachedTokens,
  output_tokens: usage.completionTokens,
  output_tokens_details: { thinking_tokens: reasoningTokens },
});
