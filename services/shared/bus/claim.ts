import { ServingError } from "../runtime/errors.ts";
import type { Claim } from "./contract.ts";
import type { JobEvent, LogRecord, Phase } from "./events.ts";
import { holds } from "./standing.ts";
import type { Tip, Writer } from "./writer.ts";

/** A claim gained by `claimed`, the record of that event. */
export class HeldClaim implements Claim {
  readonly jobId: string;
  readonly phase: Phase;
  readonly epoch: number;
  readonly #writer: Writer;
  readonly #patienceMs: number;
  /** Unique to this claim, even if the job is deleted and its id is used again. */
  readonly #name: string;
  #tip: Tip;
  #appends = 0;
  #state: "held" | "ended" | "lost" = "held";
  #queue: Promise<unknown> = Promise.resolve();

  constructor(writer: Writer, claimed: LogRecord, patienceMs: number) {
    this.#writer = writer;
    this.#patienceMs = patienceMs;
    this.#tip = claimed;
    this.#name = `${claimed.jobId}:${claimed.sequence}`;
    this.jobId = claimed.jobId;
    this.phase = claimed.phase;
    this.epoch = claimed.epoch;
  }

  get attempt(): number {
    return this.#tip.attempt;
  }
  get tokenCount(): number {
    return this.#tip.tokenCount;
  }
  get lost(): boolean {
    return this.#state === "lost";
  }

  /** Calls that overlap are appended in the order they were made. */
  append(event: JobEvent): Promise<LogRecord | null> {
    const turn = this.#queue.then(() => this.#append(event));
    this.#queue = turn.catch(() => {});
    return turn;
  }

  async #append(event: JobEvent): Promise<LogRecord | null> {
    if (this.#state !== "held") return null;
    const id = `${this.#name}:${++this.#appends}`;
    const record = await this.#write(event, id);
    if (record === null) this.#state = "lost";
    else if (!holds(event)) this.#state = "ended";
    if (record !== null) this.#tip = record;
    return record;
  }

  /**
   * A holder that finds no answer or no room for `patienceMs` gives up its claim, so that another worker takes over.
   * Until then it keeps what it has computed.
   */
  async #write(event: JobEvent, id: string): Promise<LogRecord | null> {
    try {
      return await this.#writer.append(this.jobId, this.#tip, event, id, this.#patienceMs, true);
    } catch (thrown) {
      if (thrown instanceof ServingError && thrown.retryable) return null;
      throw thrown;
    }
  }
}
