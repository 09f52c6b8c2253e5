import type { LogRecord, Usage } from "../shared/bus/contract.ts";
import type { Delta } from "../shared/engine/chat/output.ts";
import { TextStream } from "../shared/engine/text.ts";
import type { Tokenizer } from "../shared/engine/tokenizer.ts";
import { isErrorCode, ServingError } from "../shared/runtime/errors.ts";

/** Sorts the text of an answer into deltas. Its state follows from the text alone, however it was cut. */
export interface DeltaParser {
  push(text: string): readonly Delta[];
  end(): readonly Delta[];
}

export interface Ending {
  readonly reason: "stop" | "length" | "tool_calls";
  /** The stop string that ended it; null if none did. */
  readonly stop: string | null;
  readonly usage: Usage;
}

/**
 * One job's answer, read from its log. Every replica and every reader gets the same deltas from the same records, because the state is
 * nothing but the records so far.
 */
export class Answer {
  private readonly text: TextStream;
  private readonly parser: DeltaParser;
  private readonly stopIds: ReadonlySet<number>;
  private tokens = 0;
  private calls = 0;
  private ending: Ending | null = null;

  constructor(
    tokenizer: Pick<Tokenizer, "bytesOf">,
    request: { readonly stop: readonly string[]; readonly stopIds: readonly number[] },
    parser: DeltaParser,
  ) {
    this.text = new TextStream(tokenizer, request.stop);
    this.stopIds = new Set(request.stopIds);
    this.parser = parser;
  }

  /** How the answer ended; null while it has not. */
  get end(): Ending | null {
    return this.ending;
  }

  /** What the record adds. Throws the job's own error for `failed`, `cancelled` and `expired`. */
  push({ event }: LogRecord): readonly Delta[] {
    switch (event.type) {
      case "handed_over":
        return this.take(0, [event.token]);
      case "tokens":
        return this.take(event.first, event.ids);
      case "finished": {
        const deltas = this.count([...this.parser.push(this.text.flush()), ...this.parser.end()]);
        const reason = this.calls > 0 && event.reason === "stop" ? "tool_calls" : event.reason;
        this.ending = { reason, stop: this.text.stopped?.stop ?? null, usage: event.usage };
        return deltas;
      }
      case "failed":
        throw new ServingError(isErrorCode(event.code) ? event.code : "INTERNAL", event.message);
      case "cancelled":
        throw new ServingError("CANCELLED", `the job was cancelled: ${event.by}`, { apiCode: "cancelled" });
      case "expired":
        throw new ServingError("DEADLINE", "the job did not finish before its deadline", { apiCode: "timeout" });
      default:
        return [];
    }
  }

  /** Ids from place `first` of the answer on; those already taken (a hand-over that was repeated) are skipped. */
  private take(first: number, ids: readonly number[]): readonly Delta[] {
    const fresh = ids.slice(Math.max(0, this.tokens - first));
    this.tokens += fresh.length;
    const text = fresh.map((id) => (this.stopIds.has(id) ? "" : this.text.push(id))).join("");
    return this.count(this.parser.push(text));
  }

  private count(deltas: readonly Delta[]): readonly Delta[] {
    for (const delta of deltas) if (delta.type === "call") this.calls++;
    return deltas;
  }
}
