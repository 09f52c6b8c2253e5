import { createInbox, type Msg } from "nats";
import { isUnavailable } from "../../runtime/errors.ts";
import { backoffMs, linked, Pause } from "../../runtime/pause.ts";
import { decodeItem, encodeItem } from "../codec.ts";
import type { JobQueue, Message, Waiting, WorkItem } from "../contract.ts";
import { LANES, type Lane, type Phase } from "../events.ts";
import { token, untoken } from "../name.ts";
import { nanos } from "./api.ts";
import type { Connection } from "./connection.ts";
import { Consumers, type QueueSettings } from "./consumers.ts";
import { deliveryOf, isStatus } from "./messages.ts";
import { type Delivered, type Nexts, Pulls } from "./pulls.ts";
import type { Stream } from "./stream.ts";
import type { Names } from "./subjects.ts";

/** How long a poll waits for its answer. */
const POLL_MS = 500;

/** A work-queue stream per phase. The subjects name each message's job and tenant, and how much work it is. */
export class NatsQueue implements JobQueue {
  readonly #connection: Connection;
  readonly #streams: Readonly<Record<Phase, Stream>>;
  readonly #names: Names;
  readonly #settings: QueueSettings;
  readonly #consumers: Consumers;
  readonly #pulls = new Map<string, Pulls>();

  constructor(connection: Connection, streams: Readonly<Record<Phase, Stream>>, names: Names, settings: QueueSettings) {
    this.#connection = connection;
    this.#streams = streams;
    this.#names = names;
    this.#settings = settings;
    this.#consumers = new Consumers(connection, streams, names, settings);
  }

  async publish(phase: Phase, model: string, lane: Lane, item: WorkItem): Promise<void> {
    const id = item.follows === undefined ? this.#settings.random.id(`${item.jobId}:`) : `${item.jobId}:${item.follows}:${phase}`;
    const { jobId, promptTokens, outputTokens = 0, owner = "" } = item;
    const weight = `${promptTokens}-${outputTokens}${owner && `-${owner}`}`;
    const subject = `${this.#names[phase].subject}.${token(model)}.${lane}.${weight}.${token(jobId)}`;
    await this.#streams[phase].put(subject, encodeItem(item), {}, id);
  }

  async pull(phase: Phase, model: string, waitMs: number, signal: AbortSignal, room = 1): Promise<Message | null> {
    const { clock } = this.#settings;
    const endMs = clock.monotonicMs() + waitMs;
    for (let troubles = 0; !signal.aborted && !this.#connection.closing.aborted; ) {
      try {
        const nexts = await this.#consumers.nexts(phase, model);
        const found = await this.#pullsOf(nexts).next(nexts, room, endMs - clock.monotonicMs(), signal);
        const message = found === null ? null : this.#message(phase, model, found);
        if (message !== null) return message;
        troubles = 0;
      } catch (thrown) {
        if (!isUnavailable(thrown)) throw thrown;
        this.#consumers.doubt();
        const either = linked(signal, this.#connection.closing);
        await new Pause().wait(clock, Math.min(backoffMs(troubles++), Math.max(0, endMs - clock.monotonicMs())), either.signal);
        either.release();
        if (clock.monotonicMs() >= endMs && !either.signal.aborted) throw thrown;
      }
      if (clock.monotonicMs() >= endMs) return null;
    }
    return null;
  }

  #pullsOf(nexts: Nexts): Pulls {
    const known = this.#pulls.get(nexts.interactive);
    if (known !== undefined) return known;
    const pulls = new Pulls(this.#connection, this.#settings);
    this.#pulls.set(nexts.interactive, pulls);
    return pulls;
  }

  async poll(phase: Phase, model: string, lane: Lane): Promise<Message | null> {
    const message = await this.#polled(await this.#consumers.next(phase, model, lane));
    return message === null || isStatus(message) ? null : this.#message(phase, model, { lane, message });
  }

  /**
   * A consumer's answer to a request for what is there; null if none comes in time, as from a 2.9 server whose message
   * another poll had first. A message keeps its own subject, so each poll has an inbox of its own; a message that comes
   * too late goes back.
   */
  #polled(next: string): Promise<Msg | null> {
    const { clock, tryMs } = this.#settings;
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

  renew(phase: Phase, model: string, lane: Lane): Promise<boolean> {
    return this.#consumers.renew(phase, model, lane);
  }

  withdraw(phase: Phase, jobId: string): Promise<void> {
    return this.#streams[phase].purge(`${this.#names[phase].subject}.*.*.*.${token(jobId)}`);
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
          if (delayMs > 0) void this.#consumers.sortOut(phase, model, lane, delayMs);
        },
      };
    } catch {
      answer("+ACK");
      return null;
    }
  }
}

/** Reads `model.lane.prompt tokens-output tokens-owner.job`; earlier versions wrote no owner. */
function waitingOf(tokens: string): Waiting {
  const [model = "", lane, weight = "", jobId = ""] = tokens.split(".");
  const [promptTokens, outputTokens, owner = ""] = weight.split("-");
  return {
    jobId: untoken(jobId),
    model: untoken(model),
    lane: LANES.find((known) => known === lane) ?? "interactive",
    promptTokens: Number(promptTokens),
    outputTokens: Number(outputTokens ?? 0),
    owner,
  };
}
