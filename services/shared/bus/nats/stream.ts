import { createInbox } from "nats";
import { ServingError } from "../../runtime/errors.ts";
import { Pause, patiently } from "../../runtime/pause.ts";
import type { Room } from "../contract.ts";
import type { Appended } from "../journal.ts";
import { untilKnown } from "../known.ts";
import type { BusSettings } from "../settings.ts";
import { ApiError, accepted, apiCodes, callApi, isApiError, nanos, serverFull } from "./api.ts";
import type { Connection } from "./connection.ts";
import { appendHeaders, fromApi, fromConsumer, fromDirect, isStatus, type Placement, type RawMessage, type Stored } from "./messages.ts";

/** How long a try, and all tries of a question, may take, and by which clock. */
export type Patience = Pick<BusSettings, "clock" | "random" | "tryMs" | "answerMs">;

/** A read's consumer goes away by itself after this long, should its deletion be lost. */
const READ_CONSUMER_LIFE_MS = 10_000;

/** Messages read one by one: so many take a 2.9 server 3 to 5 ms, a consumer 1 to 5. */
const SINGLY = 32;

/**
 * Subjects whose last messages are asked for one by one, all at once: so many cost a server about what a consumer does,
 * or less.
 */
const AT_ONCE = 64;

/** Bounds of one request of a scan. */
const SCAN_MESSAGES = 1_000;
const SCAN_BYTES = 16_777_216;

/**
 * One JetStream stream as an ordered store of messages by subject. Every method but `append` waits out short absences
 * of the server.
 */
export class Stream {
  readonly name: string;
  readonly #connection: Connection;
  readonly #patience: Patience;

  constructor(name: string, connection: Connection, patience: Patience) {
    this.name = name;
    this.#connection = connection;
    this.#patience = patience;
  }

  /** One try. `id` makes a repetition within the stream's dedupe window harmless. */
  async append(subject: string, bytes: Uint8Array, id: string, placement: Placement = {}): Promise<Appended> {
    try {
      const { data } = await this.#connection.request(subject, bytes, appendHeaders(id, placement));
      return { kind: "stored", sequence: accepted<{ readonly seq: number }>(data).seq };
    } catch (cause) {
      return outcomeOf(cause);
    }
  }

  /** Appends, and repeats that within the deadline. Null if `placement.after` does not hold. */
  put(subject: string, bytes: Uint8Array, placement: Placement = {}, id = this.#patience.random.id("put:")): Promise<number | null> {
    const append = {
      where: `stream ${this.name}`,
      id,
      once: () => this.append(subject, bytes, id, placement),
      last: () => this.last(subject),
    };
    return untilKnown(append, this.#patience.clock, this.#patience.answerMs, this.#connection.closing);
  }

  /** The first message of a subject, from the stream's leader. */
  first(subject: string): Promise<Stored | null> {
    return this.#get({ seq: 1, next_by_subj: subject });
  }

  /** The last message of a subject, from the stream's leader. */
  last(subject: string): Promise<Stored | null> {
    return this.#get({ last_by_subj: subject });
  }

  #get(question: object): Promise<Stored | null> {
    return this.#patiently(() => this.#got(question));
  }

  async #got(question: object): Promise<Stored | null> {
    try {
      const answer = await callApi<{ readonly message: RawMessage }>(this.#connection, `STREAM.MSG.GET.${this.name}`, question);
      return fromApi(answer.message);
    } catch (thrown) {
      if (isApiError(thrown, apiCodes.noMessageFound)) return null;
      throw thrown;
    }
  }

  /**
   * Up to `max` last messages of the subjects that match, from the stream's leader: for frequent reads of a stream that
   * keeps one of each. A consumer, which costs a 2.9 server 3 KB that it never gives back, is made only if there are
   * many.
   */
  async each(filter: string, max: number): Promise<readonly Stored[]> {
    const few = await this.#patiently(async () => {
      const { state, total = 0 } = await this.#informed({ subjects_filter: filter });
      if (total > AT_ONCE) return null;
      return Promise.all(Object.keys(state.subjects ?? {}).map((subject) => this.#got({ last_by_subj: subject })));
    });
    return few === null ? this.page(filter, 0, max) : few.filter((stored) => stored !== null);
  }

  /** The last message of a subject, from whichever replica answers first: cheap, perhaps a moment old. */
  glance(subject: string): Promise<Stored | null> {
    return this.#direct(`${this.name}.${subject}`);
  }

  /** The first message of a subject behind a sequence, from whichever replica answers first. */
  next(subject: string, after: number): Promise<Stored | null> {
    return this.#direct(this.name, JSON.stringify({ seq: after + 1, next_by_subj: subject }));
  }

  #direct(what: string, question?: string): Promise<Stored | null> {
    return this.#patiently(async () => {
      const message = await this.#connection.request(`$JS.API.DIRECT.GET.${what}`, question);
      return message.headers?.code === 404 ? null : fromDirect(message);
    });
  }

  /**
   * Up to `max` messages behind a sequence whose subjects match, in order, without gaps; perhaps not the newest.
   * `bytesMax`: fewer if they would be more than that; it must have room for any one.
   */
  page(filter: string, after: number, max: number, bytesMax?: number): Promise<readonly Stored[]> {
    return this.#patiently(async () => {
      const consumer = await this.#readConsumer(filter, { deliver_policy: "by_start_sequence", opt_start_seq: after + 1 });
      try {
        return await this.#collect(consumer.name, Math.min(max, consumer.num_pending), bytesMax);
      } finally {
        this.#drop(consumer.name);
      }
    });
  }

  /**
   * Like `page`, for frequent reads that mostly find little: the first few messages are read one by one. A consumer,
   * which costs a 2.9 server 3 KB that it never gives back, is made only for the rest, or if they do not come in time.
   */
  async news(filter: string, after: number, max: number, bytesMax = Number.POSITIVE_INFINITY): Promise<readonly Stored[]> {
    const found: Stored[] = [];
    const endMs = this.#patience.clock.monotonicMs() + this.#patience.tryMs;
    let place = after;
    let bytesLeft = bytesMax;
    while (found.length < Math.min(max, SINGLY) && this.#patience.clock.monotonicMs() < endMs) {
      const next = await this.next(filter, place);
      if (next === null || (found.length > 0 && next.bytes.length >= bytesLeft)) return found;
      found.push(next);
      place = next.sequence;
      bytesLeft -= next.bytes.length;
    }
    if (found.length === max || bytesLeft <= 0) return found;
    return [...found, ...(await this.page(filter, place, max - found.length, Number.isFinite(bytesLeft) ? bytesLeft : undefined))];
  }

  /**
   * The last message of every subject that matches, in the order they were stored. UNAVAILABLE when it was cut short.
   */
  async *lasts(filter: string): AsyncGenerator<Stored> {
    const consumer = await this.#patiently(() => this.#readConsumer(filter, { deliver_policy: "last_per_subject" }));
    try {
      for (let left = consumer.num_pending; left > 0; ) {
        const page = await this.#collect(consumer.name, Math.min(left, SCAN_MESSAGES), SCAN_BYTES);
        yield* page;
        left = page.length === 0 ? 0 : left - page.length; // none left: the rest was purged meanwhile
      }
    } finally {
      this.#drop(consumer.name);
    }
  }

  /** The subjects that match and how many messages each has. */
  async subjects(filter: string): Promise<ReadonlyMap<string, number>> {
    const all = new Map<string, number>();
    for (;;) {
      const { state, total = 0 } = await this.info({ subjects_filter: filter, offset: all.size });
      const page = Object.entries(state.subjects ?? {});
      for (const [subject, count] of page) all.set(subject, count);
      if (page.length === 0 || all.size >= total) return all;
    }
  }

  async purge(filter: string): Promise<void> {
    await this.#patiently(() => callApi(this.#connection, `STREAM.PURGE.${this.name}`, { filter }));
  }

  async room(): Promise<Room> {
    const { config, state } = await this.info();
    return { bytes: state.bytes, bytesMax: config.max_bytes };
  }

  info(options: Shown = {}): Promise<StreamState> {
    return this.#patiently(() => this.#informed(options));
  }

  #informed(options: Shown): Promise<StreamState> {
    return callApi(this.#connection, `STREAM.INFO.${this.name}`, options);
  }

  #readConsumer(filter: string, start: object): Promise<{ readonly name: string; readonly num_pending: number }> {
    const config = {
      ...start,
      ack_policy: "none",
      filter_subject: filter,
      mem_storage: true,
      num_replicas: 1,
      inactive_threshold: nanos(READ_CONSUMER_LIFE_MS),
    };
    return callApi(this.#connection, `CONSUMER.CREATE.${this.name}`, { stream_name: this.name, config });
  }

  #drop(consumer: string): void {
    this.#connection.publish(`$JS.API.CONSUMER.DELETE.${this.name}.${consumer}`, "", createInbox());
  }

  /** The next `count` messages, or fewer where they would be more than `max_bytes`. */
  async #collect(consumer: string, count: number, max_bytes?: number): Promise<readonly Stored[]> {
    const messages: Stored[] = [];
    if (count === 0) return messages;
    const pause = new Pause();
    const inbox = createInbox();
    let ended = false;
    const unsubscribe = this.#connection.subscribe(inbox, (message) => {
      if (isStatus(message)) ended = true;
      else messages.push(fromConsumer(message));
      if (ended || messages.length === count) pause.end();
    });
    const forget = this.#connection.onInterruption((what) => {
      if (what === "broke") pause.end();
    });
    this.#connection.publish(
      `$JS.API.CONSUMER.MSG.NEXT.${this.name}.${consumer}`,
      JSON.stringify({ batch: count, no_wait: true, max_bytes }),
      inbox,
    );
    await pause.wait(this.#patience.clock, this.#patience.tryMs, this.#connection.closing);
    forget();
    unsubscribe();
    if (ended || messages.length === count) return messages;
    throw new ServingError("UNAVAILABLE", `stream ${this.name} stopped answering in the middle of a read; check NATS`);
  }

  #patiently<T>(attempt: () => Promise<T>): Promise<T> {
    return patiently(this.#patience.clock, this.#patience.answerMs, this.#connection.closing, async () => {
      try {
        return await attempt();
      } catch (cause) {
        if (!(cause instanceof ApiError)) throw cause;
        const unprepared = isApiError(cause, apiCodes.streamNotFound) ? this.#connection.unprepared() : null;
        if (unprepared !== null) throw unprepared;
        throw new ServingError("UNAVAILABLE", `stream ${this.name}: ${cause.message}; see the log of nats-server`, { cause });
      }
    });
  }
}

/** Which subjects an info shows, and from which on. */
interface Shown {
  readonly subjects_filter?: string;
  readonly offset?: number;
}

interface StreamState {
  /** Subjects that match, of which a page is shown. */
  readonly total?: number;
  readonly config: { readonly max_bytes: number };
  readonly state: {
    readonly bytes: number;
    readonly first_seq: number;
    readonly last_seq: number;
    readonly subjects?: Readonly<Record<string, number>>;
  };
}

const FULL =
  "restart it where it is older than 2.9.15, else raise its max_file_store (max_mem_store), or max_file (max_mem) of the account; `longshore doctor` says which";

function outcomeOf(cause: unknown): Appended {
  if (isApiError(cause, apiCodes.wrongLastSequence, apiCodes.wrongLastSequenceConstant)) return { kind: "refused" };
  if (isApiError(cause, apiCodes.storeFailed)) return { kind: "full" };
  if (isApiError(cause, ...serverFull)) return { kind: "full", why: `nats-server stores nothing more (${cause.message}): ${FULL}` };
  return { kind: "unknown", cause };
}
