import type { LogRecord, TokenLogprobs, Tokens, Usage } from "../../shared/bus/events.ts";
import { blockOf, type Delta } from "../../shared/engine/chat/delta.ts";
import { THINK_END } from "../../shared/engine/chat/dialect.ts";
import { TextStream, type TokenTexts } from "../../shared/engine/text.ts";
import { isErrorCode, ServingError } from "../../shared/runtime/errors.ts";

/** Sorts an answer into deltas. Its state follows from the text and the mark in it alone, however the text was cut. */
export interface DeltaParser {
  /** The text so far ends inside the reasoning. */
  readonly reasoning: boolean;
  /** Text without the mark: where it spells one, that is text. */
  push(text: string): readonly Delta[];
  /** `</think>` as a token of its own. */
  thinkEnd(): readonly Delta[];
  end(): readonly Delta[];
}

export interface Ending {
  readonly reason: "stop" | "length" | "tool_calls";
  /** The stop string that ended it; null if none did. */
  readonly stop: string | null;
  readonly usage: Usage;
  /** Tokens of the reasoning, the mark at its end included. */
  readonly reasoningTokens: number;
  /** When, by the clock of the worker. */
  readonly atMs: number;
}

/** The job itself ended without an answer, as opposed to what befalls its readers. */
export class JobError extends ServingError {}

/** A token as it is spelled, and the natural logarithm of its probability. */
export interface Likely {
  readonly bytes: Uint8Array;
  readonly logprob: number;
}

/** What the model thought of one token of the answer. */
export interface Score extends Likely {
  /** Whether it is part of the reasoning; the mark at its end is. */
  readonly reasoning: boolean;
  /** The most likely tokens at its place, best first. */
  readonly top: readonly Likely[];
}

/** What a record adds to an answer. */
export interface Addition {
  readonly deltas: readonly Delta[];
  /** One for each token, where the request asked for them. */
  readonly scores: readonly Score[];
}

const NOTHING: Addition = { deltas: [], scores: [] };

/**
 * One job's answer, read from its log. Every replica and every reader gets the same deltas from the same records, because the state is
 * nothing but the records so far.
 */
export class Answer {
  private readonly tokenizer: TokenTexts;
  private readonly text: TextStream;
  private readonly parser: DeltaParser;
  private readonly stopIds: ReadonlySet<number>;
  private tokens = 0;
  private reasoningTokens = 0;
  private calls = 0;
  private ending: Ending | null = null;

  constructor(
    tokenizer: TokenTexts,
    request: { readonly stop: readonly string[]; readonly stopIds: readonly number[] },
    parser: DeltaParser,
  ) {
    this.tokenizer = tokenizer;
    this.text = new TextStream(tokenizer, request.stop);
    this.stopIds = new Set(request.stopIds);
    this.parser = parser;
  }

  /** How the answer ended; null while it has not. */
  get end(): Ending | null {
    return this.ending;
  }

  /** Throws the job's own error for `failed`, `cancelled` and `expired`. */
  push({ event, atMs }: LogRecord): Addition {
    switch (event.type) {
      case "handed_over":
        return this.take({ first: 0, ids: [event.token], logprobs: event.logprobs === undefined ? [] : [event.logprobs] });
      case "tokens":
        return this.take(event);
      case "finished": {
        const last = event.tokens === undefined ? NOTHING : this.take(event.tokens);
        const rest = this.count([...this.parser.push(this.text.flush()), ...this.parser.end()]);
        const { reasoningTokens } = this;
        const stop = this.text.stopped; // it may cut the last call off
        const reason = this.calls > 0 && event.reason === "stop" && stop === null ? "tool_calls" : event.reason;
        this.ending = { reason, stop, usage: event.usage, reasoningTokens, atMs };
        return { deltas: joined([...last.deltas, ...rest]), scores: last.scores };
      }
      case "failed":
        throw new JobError(isErrorCode(event.code) ? event.code : "INTERNAL", event.message);
      case "cancelled":
        throw new JobError("CANCELLED", `the job was cancelled: ${event.by}`, { apiCode: "cancelled" });
      case "expired":
        throw new JobError("DEADLINE", "the job did not finish before its deadline", { apiCode: "timeout" });
      default:
        return NOTHING;
    }
  }

  /** Ids from place `first` of the answer on; those already taken (a hand-over that was repeated) are skipped. */
  private take({ first, ids, logprobs = [] }: Tokens): Addition {
    const deltas: Delta[] = [];
    const scores: Score[] = [];
    for (let i = Math.max(0, this.tokens - first); i < ids.length; i++) {
      this.tokens++;
      if (this.stopIds.has(ids[i]!)) continue;
      if (this.parser.reasoning) this.reasoningTokens++;
      if (logprobs[i] !== undefined) scores.push(this.score(ids[i]!, logprobs[i]!));
      deltas.push(...this.read(ids[i]!));
    }
    return { deltas: this.count(joined(deltas)), scores };
  }

  private read(id: number): readonly Delta[] {
    const text = this.text.push(id);
    if (id !== this.tokenizer.ids.thinkEnd || this.text.stopped !== null) return this.parser.push(text);
    return [...this.parser.push(text.slice(0, -THINK_END.length)), ...this.parser.thinkEnd()];
  }

  private score(id: number, { logprob, top }: TokenLogprobs): Score {
    const likely = top.map((each) => ({ bytes: this.tokenizer.bytesOf(each.id), logprob: each.logprob }));
    return { bytes: this.tokenizer.bytesOf(id), logprob, reasoning: this.parser.reasoning, top: likely };
  }

  private count(deltas: readonly Delta[]): readonly Delta[] {
    for (const delta of deltas) if (delta.type === "call") this.calls++;
    return deltas;
  }
}

/** Neighbours of one kind as one: what a record brings together is told together. */
function joined(deltas: readonly Delta[]): Delta[] {
  const all: Delta[] = [];
  for (const delta of deltas) join(all, delta);
  return all;
}

/** Puts a delta behind others, into the last of them where it goes on with it. */
export function join(deltas: Delta[], delta: Delta): void {
  const last = deltas.at(-1);
  if (last !== undefined && "text" in last && "text" in delta && blockOf(last) === blockOf(delta))
    deltas[deltas.length - 1] = { ...last, text: last.text + delta.text };
  else deltas.push(delta);
}
