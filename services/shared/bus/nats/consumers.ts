import { ServingError } from "../../runtime/errors.ts";
import { Pause } from "../../runtime/pause.ts";
import { LANES, type Lane, type Phase } from "../events.ts";
import { token } from "../name.ts";
import type { BusSettings } from "../settings.ts";
import { apiCodes, callApi, isApiError, nanos } from "./api.ts";
import type { Connection } from "./connection.ts";
import { checkEcho, type Echo } from "./ensure-stream.ts";
import type { Nexts } from "./pulls.ts";
import type { Patience, Stream } from "./stream.ts";
import type { Names } from "./subjects.ts";

/** Between two looks at a consumer: a healthy one answers a request long before that while messages wait. */
const LOOK_AGAIN_MS = 250;
/** A consumer is asked about at most this long before a message of it comes again. */
const SORT_OUT_MS = 2_000;
/** Messages in flight and requests waiting per consumer. */
const IN_FLIGHT_MAX = 65_536;
const WAITING_MAX = 8_192;

export type QueueSettings = Patience & Pick<BusSettings, "ackWaitMs">;

interface ConsumerInfo {
  readonly num_waiting: number;
  readonly delivered: { readonly consumer_seq: number };
}

/**
 * The durable consumers of the queues, one for each model and lane, made at the first pull; and the cures for what
 * servers forget of them.
 */
export class Consumers {
  readonly #connection: Connection;
  readonly #streams: Readonly<Record<Phase, Stream>>;
  readonly #names: Names;
  readonly #settings: QueueSettings;
  readonly #ensured = new Set<string>();
  /** By phase and model, once their consumers exist. */
  readonly #nexts = new Map<string, Nexts>();
  /** When a consumer will be asked about (monotonic ms), by its phase, model and lane. */
  readonly #looks = new Map<string, Set<number>>();

  constructor(connection: Connection, streams: Readonly<Record<Phase, Stream>>, names: Names, settings: QueueSettings) {
    this.#connection = connection;
    this.#streams = streams;
    this.#names = names;
    this.#settings = settings;
    connection.onInterruption(() => this.doubt());
  }

  /** Consumers may be gone: the next use of one makes sure of it. */
  doubt(): void {
    this.#ensured.clear();
    this.#nexts.clear();
  }

  /** Pull subjects of a model's lanes, whose consumers exist then. */
  async nexts(phase: Phase, model: string): Promise<Nexts> {
    const known = this.#nexts.get(`${phase} ${model}`);
    if (known !== undefined) return known;
    const each: [Lane, string][] = [];
    for (const lane of LANES) each.push([lane, await this.next(phase, model, lane)]);
    const nexts = Object.fromEntries(each) as Nexts;
    this.#nexts.set(`${phase} ${model}`, nexts);
    return nexts;
  }

  /** Pull subject of a lane's consumer, which exists then. */
  async next(phase: Phase, model: string, lane: Lane): Promise<string> {
    const name = consumerName(model, lane);
    const stream = this.#streams[phase].name;
    const next = `$JS.API.CONSUMER.MSG.NEXT.${stream}.${name}`;
    if (this.#ensured.has(next)) return next;
    const config = {
      durable_name: name,
      filter_subject: `${this.#names[phase].subject}.${token(model)}.${lane}.*.*`,
      deliver_policy: "all",
      ack_policy: "explicit",
      ack_wait: nanos(this.#settings.ackWaitMs),
      max_deliver: -1,
      max_ack_pending: IN_FLIGHT_MAX,
      max_waiting: WAITING_MAX,
    };
    try {
      const made = await this.#make(stream, name, config).catch(async (cause) => {
        if (!isLost(cause)) throw cause;
        await this.#delete(stream, name);
        return this.#make(stream, name, config);
      });
      checkEcho(`consumer ${name}`, config, made.config);
    } catch (cause) {
      if (!isApiError(cause)) throw cause;
      throw new ServingError("UNAVAILABLE", `consumer ${name} of stream ${stream}: ${cause.message}`, { cause });
    }
    this.#ensured.add(next);
    return next;
  }

  /**
   * Makes the consumer anew: it begins at the stream's first message. Servers up to 2.10 that were killed or lost power
   * are known to leave a consumer ahead of its stream, so that it takes the next messages for delivered, or asleep with
   * messages pending.
   */
  async renew(phase: Phase, model: string, lane: Lane): Promise<boolean> {
    const before = await this.#info(phase, model, lane);
    if (before.num_waiting === 0) return false;
    await new Pause().wait(this.#settings.clock, LOOK_AGAIN_MS, this.#connection.closing);
    const after = await this.#info(phase, model, lane);
    if (after.num_waiting === 0 || after.delivered.consumer_seq !== before.delivered.consumer_seq) return false;
    await this.#delete(this.#streams[phase].name, consumerName(model, lane));
    this.doubt();
    await this.next(phase, model, lane);
    return true;
  }

  /**
   * Servers up to 2.9 lose a message that comes again, until its ack wait is over, if the only requests they know are
   * withdrawn ones, such as a full worker leaves for seconds. Asking for a consumer's info makes them forget those. So
   * it is asked for shortly before a message comes again, once for all that come again soon after.
   */
  async sortOut(phase: Phase, model: string, lane: Lane, delayMs: number): Promise<void> {
    const { clock } = this.#settings;
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

  #make(stream: string, name: string, config: object): Promise<Echo> {
    return callApi(this.#connection, `CONSUMER.DURABLE.CREATE.${stream}.${name}`, { stream_name: stream, config });
  }

  async #delete(stream: string, name: string): Promise<void> {
    await callApi(this.#connection, `CONSUMER.DELETE.${stream}.${name}`).catch((thrown: unknown) => {
      if (!isApiError(thrown, apiCodes.consumerNotFound)) throw thrown;
    });
  }

  async #info(phase: Phase, model: string, lane: Lane): Promise<ConsumerInfo> {
    await this.next(phase, model, lane);
    return callApi(this.#connection, `CONSUMER.INFO.${this.#streams[phase].name}.${consumerName(model, lane)}`);
  }
}

/**
 * The server knows the consumer but has lost its folder: every later create fails, and nobody gets its messages.
 * nats-server 2.9.10 does this to one in seven consumers that are created while another process deletes one of the same
 * name, which `renew` does.
 */
const isLost = (thrown: unknown): boolean =>
  isApiError(thrown, apiCodes.consumerCreate) && thrown.message.includes("no such file or directory");

const consumerName = (model: string, lane: Lane): string => `${token(model)}-${lane}`;
