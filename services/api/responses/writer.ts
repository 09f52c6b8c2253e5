import { blockOf, type Delta, textOf } from "../../shared/engine/chat/delta.ts";
import type { ServingError } from "../../shared/runtime/errors.ts";
import type { Ending } from "../answer/answer.ts";
import { openaiErrors } from "../errors.ts";
import type { StreamEvent } from "../http/sse.ts";
import { printVerbatim, Verbatim } from "../http/verbatim.ts";
import { answerId } from "../ids.ts";
import { sealed } from "./items.ts";
import type { Echo } from "./kept.ts";
import { type ItemStatus, newItem, type OutputItem, ofText } from "./output-item.ts";

export interface Written {
  readonly jobId: string;
  readonly model: string;
  /** Unix seconds. */
  readonly created: number;
  readonly background: boolean;
  readonly echo: Echo;
}

/**
 * Writes a response as it comes: the response as it stands, and the events that lead there. The numbers of the events follow from the log
 * alone, so that every reader, on whatever replica, counts them alike.
 */
export class ResponseWriter {
  readonly #written: Written;
  /** Events up to this number have been seen already and are not told again. */
  readonly #after: number;
  readonly #output: OutputItem[] = [];
  #open: string | null = null;
  #status: "queued" | "in_progress" | "completed" | "incomplete" | "failed" | "cancelled" = "queued";
  #end: Ending | null = null;
  #error: ServingError | null = null;
  #number = 0;

  constructor(written: Written, after = -1) {
    this.#written = written;
    this.#after = after;
  }

  get output(): readonly OutputItem[] {
    return this.#output;
  }

  opening(): StreamEvent[] {
    if (this.#written.background) return [...this.#whole("response.created"), ...this.#whole("response.queued")];
    this.#status = "in_progress";
    return [...this.#whole("response.created"), ...this.#whole("response.in_progress")];
  }

  begin(): StreamEvent[] {
    if (this.#status !== "queued") return [];
    this.#status = "in_progress";
    return this.#whole("response.in_progress");
  }

  add(deltas: readonly Delta[]): StreamEvent[] {
    return deltas.flatMap((delta) => this.#add(delta));
  }

  finish(end: Ending): StreamEvent[] {
    this.#end = end;
    const whole = end.reason !== "length";
    const closed = this.#close(whole ? "completed" : "incomplete");
    this.#status = whole ? "completed" : "incomplete";
    return [...closed, ...this.#whole(`response.${this.#status}`)];
  }

  /** The job ended without an answer. */
  fail(error: ServingError): StreamEvent[] {
    this.#error = error;
    this.#status = error.code === "CANCELLED" ? "cancelled" : "failed";
    for (const item of this.#output) if (item.status === "in_progress") item.status = "incomplete";
    return this.#whole("response.failed");
  }

  /** The reader is told that no more comes here; the job goes on. This event bears the number of the one before: from behind it nothing is missed. */
  breakOff(error: ServingError): StreamEvent[] {
    const { code, message, param } = openaiErrors.body(error).error;
    return [numbered("error", Math.max(this.#number - 1, this.#after), { code, message, param })];
  }

  response(): object {
    const { jobId, model, created, background, echo } = this.#written;
    const completed = this.#status === "completed" && this.#end !== null;
    return {
      id: answerId("responses", jobId),
      object: "response",
      created_at: created,
      completed_at: completed ? Math.max(created, Math.floor(this.#end!.atMs / 1_000)) : null,
      status: this.#status,
      background,
      model,
      ...echo.fields,
      ...(echo.exactTools === undefined ? {} : { tools: new Verbatim(echo.exactTools) }),
      error: this.#status === "failed" ? { code: "server_error", message: openaiErrors.body(this.#error!).error.message } : null,
      incomplete_details: this.#status === "incomplete" ? { reason: "max_output_tokens" } : null,
      output: this.#output,
      usage: this.#end === null ? null : usageOf(this.#end),
    };
  }

  #add(delta: Delta): StreamEvent[] {
    const block = blockOf(delta);
    if (this.#open === block) return this.#grow(delta);
    const closed = this.#close("completed");
    this.#open = block;
    const { jobId, echo } = this.#written;
    const item = newItem(delta, jobId, this.#output.length, echo.names);
    this.#output.push(item);
    const added = this.#event("response.output_item.added", { output_index: this.#output.length - 1, item });
    if (item.type === "function_call") return [...closed, ...added];
    if (item.type === "message") item.content.push({ type: "output_text", text: "", annotations: [], logprobs: [] });
    else item.content.push({ type: "reasoning_text", text: "" });
    return [...closed, ...added, ...this.#part("response.content_part.added", { part: item.content[0] }), ...this.#grow(delta)];
  }

  #grow(delta: Delta): StreamEvent[] {
    const item = this.#output.at(-1)!;
    const text = textOf(delta);
    if (item.type === "function_call") {
      item.arguments += text;
      return this.#part("response.function_call_arguments.delta", { delta: text });
    }
    item.content[0]!.text += text;
    return this.#part(`response.${item.content[0]!.type}.delta`, { delta: text, ...ofText(item) });
  }

  #close(status: ItemStatus): StreamEvent[] {
    const item = this.#output.at(-1);
    if (this.#open === null || item === undefined) return [];
    this.#open = null;
    item.status = status;
    const done = this.#whatIsDone(item);
    return [...done, ...this.#event("response.output_item.done", { output_index: this.#output.length - 1, item })];
  }

  #whatIsDone(item: OutputItem): StreamEvent[] {
    if (item.type === "function_call")
      return this.#part("response.function_call_arguments.done", { name: item.name, arguments: item.arguments });
    const part = item.content[0]!;
    if (item.type === "reasoning" && this.#written.echo.encrypted) item.encrypted_content = sealed(part.text);
    return [
      ...this.#part(`response.${part.type}.done`, { text: part.text, ...ofText(item) }),
      ...this.#part("response.content_part.done", { part }),
    ];
  }

  /** About the open item, or the part of it. */
  #part(type: string, fields: object): StreamEvent[] {
    const item = this.#output.at(-1)!;
    const place = item.type === "function_call" ? {} : { content_index: 0 };
    return this.#event(type, { item_id: item.id, output_index: this.#output.length - 1, ...place, ...fields });
  }

  #whole(type: string): StreamEvent[] {
    return this.#event(type, { response: this.response() }, printVerbatim);
  }

  #event(type: string, fields: object, print?: typeof printVerbatim): StreamEvent[] {
    const number = this.#number++;
    return number <= this.#after ? [] : [numbered(type, number, fields, print)];
  }
}

const numbered = (
  type: string,
  sequence_number: number,
  fields: object,
  print: (value: unknown) => string = JSON.stringify,
): StreamEvent => ({
  name: type,
  data: print({ type, sequence_number, ...fields }),
});

const usageOf = ({ usage: { promptTokens, cachedTokens, completionTokens }, reasoningTokens }: Ending) => ({
  input_tokens: promptTokens,
  input_tokens_details: { cached_tokens: cachedTokens, cache_write_tokens: 0 },
  output_tokens: completionTokens,
  output_tokens_details: { reasoning_tokens: reasoningTokens },
  total_tokens: promptTokens + completionTokens,
});
