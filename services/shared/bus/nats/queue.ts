import { createInbox, type Msg } from "nats";
import { ServingError } from "../../runtime/errors.ts";
import { decodeItem, encodeItem } from "../codec.ts";
import type { JobQueue, Message, Waiting, WorkItem } from "../contract.ts";
import type { Lane, Phase } from "../events.ts";
import { token, untoken } from "../name.ts";
import { backoffMs, isUnavailable, linked, Pause } from "../pause.ts";
import { callApi, isApiError, nanos } from "./api.ts";
import type { Connection } from "./connection.ts";
import { checkEcho, type Echo } from "./ensure-stream.ts";
import { deliveryOf, isStatus } from "./messages.ts";
import { type Delivered, type Nexts, Pulls } from "./pulls.ts";
import type { Patience, Stream } from "./stream.ts";
import type { Names } from "./subjects.ts";

/** Between two looks at a consumer: who asks a healthy one while messages wait is given one long before. */
const LOOK_AGAIN_MS = 250;
/** At most so long before a message comes again its consumer is asked about. */
const SORT_OUT_MS = 2_000;
/** Messages in flight and requests waiting per consumer. */
const IN_FLIGHT_MAX = 65_536;
const WAITING_MAX = 8_192;
/** How long a poll waits for its answer. */
const POLL_MS = 500;

interface ConsumerInfo {
  readonly num_waiting: number;
  readonly delivered: { readonly consumer_seq: number };
}

/**
 * A work-queue stream per phase, whose subjects tell whose each message is and how much work; a durable consumer per model and lane, made
 * when somebody first pulls from it.
 */
export class NatsQueue implements JobQueue {
  readonly #connection: Connection;
  readonly #streams: Readonly<Record<Phase, Stream>>;
  readonly #names: Names;
  readonly #patience: Patience;
  readonly #ackWaitMs: number;
  readonly #ensured = new Set<string>();
  /** Of a phase and model whose consumers are there. */
  readonly #nexts = new Map<string, Nexts>();
  readonly #pulls = new Map<string, Pulls>();
  /** When a consumer will be asked about (monotonic ms), by its name. */
  readonly #looks = new Map<string, Set<number>>();

  constructor(connection: Connection, streams: Readonly<Record<Phase, Stream>>, names: Names, patience: Patience, ackWaitMs: number) {
    this.#connection = connection;
    this.#streams = streams;
    this.#names = names;
    this.#patience = patience;
    this.#ackWaitMs = ackWaitMs;
    connection.onInterruption(() => this.#doubt());
  }

  async publish(phase: Phase, model: string, lane: Lane, item: WorkItem): Promise<void> {
    const id = item.follows === undefined ? this.#patience.random.id(`${item.jobId}:`) : `${item.jobId}:${item.follows}:${phase}`;
    const subject = `${this.#lane(phase, model, lane)}.${item.promptTokens}-${item.outputTokens ?? 0}.${token(item.jobId)}`;
    await this.#streams[phase].put(subject, encodeItem(item), {}, id);
  }

  async pull(phase: Phase, model: string, waitMs: number, signal: AbortSignal, room = 1): Promise<Message | null> {
    const { clock } = this.#patience;
    const endMs = clock.monotonicMs() + waitMs;
    for (let troubles = 0; !signal.aborted && !this.#connection.closing.aborted; ) {
      try {
        const nexts = this.#nexts.get(`${phase} ${model}`) ?? (await this.#makeNexts(phase, model));
        const found = await this.#pullsOf(nexts).next(nexts, room, endMs - clock.monotonicMs(), signal);
        const message = found === null ? null : this.#message(phase, model, found);
        if (message !== null) return message;
        troubles = 0;
      } catch (thrown) {
        if (!isUnavailable(thrown)) throw thrown;
        this.#doubt();
        const either = linked(signal, this.#connection.closing);
        await new Pause().wait(clock, Math.min(backoffMs(troubles++), Math.max(0, endMs - clock.monotonicMs())), either.signal);
        either.release();
        if (clock.monotonicMs() >= endMs && !either.signal.aborted) throw thrown;
      }
      if (clock.monotonicMs() >= endMs) return null;
    }
    return null;
  }

  async #makeNexts(phase: Phase, model: string): Promise<Nexts> {
    const nexts = {
      interactive: await this.#consumer(phase, model, "interactive"),
      batch: await this.#consumer(phase, model, "batch"),
    };
    this.#nexts.set(`${phase} ${model}`, nexts);
    return nexts;
  }

  /** Consumers may be gone. */
  #doubt(): void {
    this.#ensured.clear();
    this.#nexts.clear();
  }

  #pullsOf(nexts: Nexts): Pulls {
    const known = this.#pulls.get(nexts.interactive);
    if (known !== undefined) return known;
    const pulls = new Pulls(this.#connection, this.#patience);
    this.#pulls.set(nexts.interactive, pulls);
    return pulls;
  }

  async poll(phase: Phase, model: string, lane: Lane): Promise<Message | null> {
    const message = await this.#polled(await this.#consumer(phase, model, lane));
    return message === null || isStatus(message) ? null : this.#message(phase, model, { lane, message });
  }

  /**
   * What a consumer says to a request for what is there; null when it says nothing in time, as servers of 2.9 do whose message another poll had first. A
   * message that it gives keeps its own subject, so it comes to an inbox of its own; one that comes too late goes back.
   */
  #polled(next: string): Promise<Msg | null> {
    const { clock, tryMs } = this.#patience;
    return new Promise((resolve) => {
      const inbox = createInbox();
      let over = false;
      const end = (answer: Msg | null) => {
        if (over) return void (answer !== null && !isStatus(answer) && this.#connection.publish(answer.reply ?? "", "-NAK"));
        over = true;
        leave(answer === null ? "drain" : undefined);
        cancel();
        resolve(answer);
      };
      const leave = this.#connection.subscribe(inbox, end);
      const cancel = clock.after(Math.min(tryMs, POLL_MS), () => end(null));
      this.#connection.publish(next, JSON.stringify({ batch: 1, no_wait: true }), inbox);
    });
  }

  async messages(phase: Phase): Promise<readonly Waiting[]> {
    const begin = this.#names[phase].subject.length + 1;
    const subjects = await this.#streams[phase].subjects(`${this.#names[phase].subject}.>`);
    return [...subjects].flatMap(([subject, count]) => Array<Waiting>(count).fill(waitingOf(subject.slice(begin))));
  }

  withdraw(phase: Phase, jobId: string): Promise<void> {
    return this.#streams[phase].purge(`${this.#names[phase].subject}.*.*.*.${token(jobId)}`);
  }

  /**
   * Makes the consumer anew: it begins at the stream's first message. Servers up to 2.10 are known to leave a consumer, when they are killed
   * or lose power, ahead of its stream, whose next messages it then takes for delivered, or asleep with messages pending.
   */
  async renew(phase: Phase, model: string, lane: Lane): Promise<boolean> {
    const before = await this.#info(phase, model, lane);
    if (before.num_waiting === 0) return false;
    await new Pause().wait(this.#patience.clock, LOOK_AGAIN_MS, this.#connection.closing);
    const after = await this.#info(phase, model, lane);
    if (after.num_waiting === 0 || after.delivered.consumer_seq !== before.delivered.consumer_seq) return false;
    await callApi(this.#connection, `CONSUMER.DELETE.${this.#streams[phase].name}.${consumerName(model, lane)}`);
    this.#doubt();
    await this.#consumer(phase, model, lane);
    return true;
  }

  async #info(phase: Phase, model: string, lane: Lane): Promise<ConsumerInfo> {
    await this.#consumer(phase, model, lane);
    return callApi(this.#connection, `CONSUMER.INFO.${this.#streams[phase].name}.${consumerName(model, lane)}`);
  }

  /**
   * Servers up to 2.9 lose a message that comes again, until its ack wait is over, where the only requests they know are withdrawn ones: a worker that
   * is full leaves such for seconds. Whoever asks how a consumer is has them forget those; so that is asked shortly before a message comes again,
   * once for all that come again soon after.
   */
  async #sortOut(phase: Phase, model: string, lane: Lane, delayMs: number): Promise<void> {
    const { clock } = this.#patience;
    const { closing } = this.#connection;
    const name = `${phase} ${model} ${lane}`;
    const dueMs = clock.monotonicMs() + delayMs;
    const lookMs = dueMs - Math.min(delayMs / 2, SORT_OUT_MS);
    const looks = this.#looks.get(name) ?? new Set();
    if ([...looks].some((atMs) => atMs >= lookMs && atMs < dueMs)) return;
    this.#looks.set(name, looks.add(lookMs));
    await new Pause().wait(clock, lookMs - clock.monotonicMs(), closing);
    looks.delete(lookMs);
    if (!closing.aborted) await this.#info(phase, model, lane).catch(() => {}); // the record is away: its requests are, too
  }

  #lane(phase: Phase, model: string, lane: Lane): string {
    return `${this.#names[phase].subject}.${token(model)}.${lane}`;
  }

  /** Subject of the consumer's pull requests. */
  async #consumer(phase: Phase, model: string, lane: Lane): Promise<string> {
    const name = consumerName(model, lane);
    const stream = this.#streams[phase].name;
    const next = `$JS.API.CONSUMER.MSG.NEXT.${stream}.${name}`;
    if (this.#ensured.has(next)) return next;
    const config = {
      durable_name: name,
      filter_subject: `${this.#lane(phase, model, lane)}.*.*`,
      deliver_policy: "all",
      ack_policy: "explicit",
      ack_wait: nanos(this.#ackWaitMs),
      max_deliver: -1,
      max_ack_pending: IN_FLIGHT_MAX,
      max_waiting: WAITING_MAX,
    };
    try {
      const body = { stream_name: stream, config };
      checkEcho(
        `consumer ${name}`,
        config,
        (await callApi<Echo>(this.#connection, `CONSUMER.DURABLE.CREATE.${stream}.${name}`, body)).config,
      );
    } catch (cause) {
      if (!isApiError(cause)) throw cause;
      throw new ServingError("UNAVAILABLE", `consumer ${name} of stream ${stream}: ${cause.message}`, { cause });
    }
    this.#ensured.add(next);
    return next;
  }

  /** Null for a message that cannot be read: a hint at nothing, so it is dropped, and the reconciler sends another. */
  #message(phase: Phase, model: string, { lane, message }: Delivered): Message | null {
    const answer = (word: string) => this.#connection.mention(message.reply ?? "", word);
    try {
      return {
        item: decodeItem(message.data),
        phase,
        lane,
        deliveries: deliveryOf(message.reply ?? "").deliveries,
        working: () => answer("+WPI"),
        ack: () => answer("+ACK"),
        nak: (delayMs) => {
          this.#connection.publish(message.reply ?? "", `-NAK {"delay": ${nanos(delayMs)}}`);
          if (delayMs > 0) void this.#sortOut(phase, model, lane, delayMs);
        },
      };
    } catch {
      answer("+ACK");
      return null;
    }
  }
}

/** Of `model.lane.prompt tokens-output tokens.job`. */
function waitingOf(tokens: string): Waiting {
  const [model = "", lane, share = "", jobId = ""] = tokens.split(".");
  const [promptTokens, outputTokens] = share.split("-").map(Number);
  return {
    jobId: untoken(jobId),
    model: untoken(model),
    lane: lane === "batch" ? "batch" : "interactive",
    promptTokens: promptTokens ?? 0,
    outputTokens: outputTokens ?? 0,
  };
}

const consumerName = (model: string, lane: Lane): string => `${token(model)}-${lane}`;
