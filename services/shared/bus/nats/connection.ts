import { connect, Empty, ErrorCode, Events, type Msg, type MsgHdrs, type NatsConnection, type Subscription } from "nats";
import type { Clock } from "../../runtime/clock.ts";
import { ServingError } from "../../runtime/errors.ts";
import { backoffMs, Pause } from "../../runtime/pause.ts";
import type { Random } from "../../runtime/random.ts";
import type { BusSettings } from "../settings.ts";
import { away, NoneLetsIn, type Refused, UNPREPARED, unheard, withoutJetStream } from "./away.ts";
import { connectionOptions, type NamedServers } from "./connection-options.ts";
import { Outbox } from "./outbox.ts";
import { Requests, UNHEARD } from "./requests.ts";
import { closeSilentSockets } from "./silent-sockets.ts";

/** The one owner of the NATS connection: makes it, keeps it alive, and prepares the server after each connect. */
export class Connection {
  readonly #options: NamedServers;
  readonly #tryMs: number;
  readonly #clock: Clock;
  readonly #requests: Requests;
  readonly #outbox: Outbox;
  readonly #random: Random;
  readonly #prepare: (connection: Connection) => Promise<void>;
  readonly #closing = new AbortController();
  readonly #interrupted = new Set<(what: Interruption) => void>();
  readonly #refused = new Set<(subject: string, cause: ServingError) => void>();
  readonly #listeners = new Set<Listener>();
  readonly #running: Promise<void>;
  readonly #leaveSockets: () => void;
  #nats: NatsConnection | null = null;
  #connected = false;
  #prepared = false;
  #wasPrepared = false;
  #trouble: unknown = null;
  #dials = 0;

  /**
   * `prepare` is repeated until it succeeds, and again after every reconnect: the server may come back with an empty
   * store.
   */
  constructor(
    url: string,
    { tryMs, clock, random }: Pick<BusSettings, "tryMs" | "clock" | "random">,
    prepare: (connection: Connection) => Promise<void>,
  ) {
    this.#options = connectionOptions(url, tryMs);
    this.#leaveSockets = closeSilentSockets(tryMs);
    this.#tryMs = tryMs;
    this.#clock = clock;
    this.#random = random;
    this.#prepare = prepare;
    this.#requests = new Requests(clock, tryMs);
    this.#outbox = new Outbox(clock, ({ subject, data, options }) => this.#nats?.publish(subject, data, options));
    this.subscribe(`${this.#requests.inbox}.*`, (message) => this.#requests.answered(message));
    this.#running = this.#run();
  }

  /** Version of the server, once there was one. */
  get version(): string {
    return this.#nats?.info?.version ?? "unknown version";
  }

  /** Servers of the cluster that are up, as they report; 1 if they report none. */
  get servers(): number {
    return Math.max(1, this.#nats?.info?.connect_urls?.length ?? 0);
  }

  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  /**
   * Rejects with UNAVAILABLE, and the reason, until the server is prepared; with INVALID_REQUEST if the first attempt
   * to prepare it was refused for good. After one success, a refusal waits for the operator.
   */
  async prepared(): Promise<void> {
    if (this.#prepared && this.#connected) return;
    throw this.#wasPrepared || !isRefused(this.#trouble) ? this.#away() : this.#trouble;
  }

  /** Why streams may be missing; null once the server was prepared. */
  unprepared(): ServingError | null {
    return this.#prepared ? null : this.#away();
  }

  /**
   * One try; `headers` are bytes as they go over the wire. Rejects with UNAVAILABLE when there is no connection, it
   * breaks, there are no responders, or no answer comes in time.
   */
  async request(subject: string, data: Uint8Array | string = Empty, headers?: Uint8Array): Promise<Msg> {
    if (!this.#connected) throw this.#away();
    try {
      return await this.#requests.ask(subject, (reply, failed) =>
        this.#outbox.send({ subject, data, failed, options: headers === undefined ? { reply } : { reply, headers: encoded(headers) } }),
      );
    } catch (cause) {
      const { servers } = this.#options;
      // No responders: the streams do not exist, or the server has no JetStream.
      if (cause instanceof Error && cause.message === UNHEARD) throw unheard({ subject, servers, unprepared: this.unprepared(), cause });
      throw away(cause, servers);
    }
  }

  /** Why we have no JetStream, as the server said in `cause`. */
  withoutJetStream(cause: unknown): ServingError {
    return withoutJetStream(this.#options.servers, cause);
  }

  #away(): ServingError {
    return away(this.#trouble, this.#options.servers);
  }

  /** Without any promise: a message that cannot be sent now is dropped. */
  publish(subject: string, data: Uint8Array | string, reply?: string): void {
    if (this.#connected) this.#outbox.send({ subject, data, failed: ignored, options: reply === undefined ? {} : { reply } });
  }

  /** Like `publish`, but goes out with whatever is sent next, or after a moment. */
  mention(subject: string, data: Uint8Array | string): void {
    if (this.#connected) this.#outbox.mention({ subject, data, failed: ignored, options: {} });
  }

  /**
   * Calls back for messages on `subject`, across reconnects, until the returned function is called; with `drain` also
   * for those on their way then.
   */
  subscribe(subject: string, callback: (message: Msg) => void): (late?: "drain") => void {
    let hears = true;
    const heard = (message: Msg) => {
      if (hears) callback(message);
    };
    const listener = { subject, callback: heard, subscription: this.#nats === null ? null : listen(this.#nats, subject, heard) };
    this.#listeners.add(listener);
    return (late) => {
      this.#listeners.delete(listener);
      hears = late === "drain";
      if (hears) listener.subscription?.drain().catch(() => {});
      else this.#outbox.leave(listener.subscription);
    };
  }

  /**
   * Resolves once the server knows of every subscription made so far; at once without a connection, since a new one
   * begins with them.
   */
  async settled(): Promise<void> {
    if (this.#connected) await this.#nats?.flush().catch(() => {});
  }

  /**
   * Calls back when the connection broke (pending messages will not come), and when it is back and prepared (what was
   * there may be gone).
   */
  onInterruption(callback: (what: Interruption) => void): () => void {
    this.#interrupted.add(callback);
    return () => void this.#interrupted.delete(callback);
  }

  /** Calls back when the server says that we may not publish to a subject, as it does at each try. */
  onRefusal(callback: (subject: string, cause: ServingError) => void): void {
    this.#refused.add(callback);
  }

  #refuse(subject: string): void {
    const advice = "see the permissions of the user in LONGSHORE_NATS_URL";
    const cause = new ServingError("UNAVAILABLE", `nats-server does not allow longshore to publish to ${subject}; ${advice}`);
    this.#requests.refuse(subject, cause);
    for (const callback of this.#refused) callback(subject, cause);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#outbox.flush();
    const drained = new AbortController();
    const late = new Pause().wait(this.#clock, this.#tryMs, drained.signal); // ends with the drain, or it would keep the process
    if (this.#connected) await Promise.race([this.#nats?.drain(), late]).catch(() => {});
    drained.abort();
    await this.#nats?.close();
    await this.#running;
    this.#leaveSockets();
    this.#requests.fail(new Error("the connection is closed"));
  }

  async #run(): Promise<void> {
    while (!this.closing.aborted) {
      try {
        await this.#watch(await this.#dial());
      } catch (cause) {
        this.#trouble = cause;
        await new Pause().wait(this.#clock, this.#redialMs(), this.closing);
      }
    }
    await this.#nats?.close();
  }

  /**
   * Tries each named server once. The library would go on with the servers that these advertise, and after a refusal
   * with those that the refusing one advertises, for ever, without a pause and without a word: it is stopped there. A
   * close ends it with the try that is under way.
   */
  async #dial(): Promise<NatsConnection> {
    const { servers } = this.#options;
    let isIn = false;
    let tries = 0;
    const reconnectDelayHandler = () => {
      if (this.closing.aborted || (!isIn && tries++ > servers.length)) throw new Error(NOT_IN);
      return this.#redialMs();
    };
    const nats = await connect({ ...this.#options, reconnectDelayHandler }).catch(async (cause: Error) => {
      throw this.closing.aborted || (servers.length === 1 && cause.message !== NOT_IN) ? cause : await this.#whyNot();
    });
    isIn = true;
    return nats;
  }

  /**
   * Asks each server once more by itself, ignoring the others it advertises: the library reports what the last one
   * said, whichever that was.
   */
  async #whyNot(): Promise<NoneLetsIn> {
    const options = { ...this.#options, ignoreClusterUpdates: true };
    const ask = async (server: string): Promise<Refused> => {
      const nats = await connect({ ...options, servers: [server] }).catch((cause: unknown) => ({ server, cause }));
      if ("cause" in nats) return nats;
      await nats.close();
      return { server, cause: null };
    };
    return new NoneLetsIn(await Promise.all(this.#options.servers.map(ask)));
  }

  /** Spread over a half, so that clients do not all reconnect to a restarted server at once. */
  #redialMs(): number {
    return backoffMs(this.#dials++) * (0.5 + this.#random.u32() / 2 ** 33);
  }

  async #watch(nats: NatsConnection): Promise<void> {
    this.#nats = nats;
    for (const listener of this.#listeners) listener.subscription = listen(nats, listener.subject, listener.callback);
    void this.#arrive();
    void this.#heed(nats);
    if (this.closing.aborted) await nats.close();
    await nats.closed();
    this.#break();
  }

  async #heed(nats: NatsConnection): Promise<void> {
    for await (const { type, data, permissionContext } of nats.status()) {
      if (permissionContext?.operation === "publish") this.#refuse(permissionContext.subject);
      // The library reports an error for each server that it asks again or leaves, but has no words for one that is no
      // refusal.
      if (type === Events.Error && !this.#connected && data !== ErrorCode.ProtocolError) this.#trouble = new Error(String(data));
      if (type === Events.Disconnect && this.#connected) this.#break();
      if (type === Events.Reconnect && !this.#connected) void this.#arrive();
    }
  }

  async #arrive(): Promise<void> {
    this.#connected = true;
    this.#trouble = new Error(UNPREPARED);
    this.#dials = 0;
    for (let tries = 0; this.#connected && !this.closing.aborted; tries++) {
      try {
        await this.#prepare(this);
        this.#prepared = true;
        this.#wasPrepared = true;
        break;
      } catch (cause) {
        this.#trouble = cause;
        await new Pause().wait(this.#clock, backoffMs(tries), this.closing);
      }
    }
    for (const callback of this.#interrupted) callback("back");
  }

  #break(): void {
    this.#connected = false;
    this.#prepared = false;
    const trouble = new Error("the connection broke");
    this.#trouble = trouble;
    this.#outbox.drop();
    this.#requests.fail(trouble);
    for (const callback of this.#interrupted) callback("broke");
  }
}

export type Interruption = "broke" | "back";

const NOT_IN = "every server was tried";

const ignored = (): void => {};

/** The library asks the headers of a message it publishes for their bytes alone. */
const encoded = (bytes: Uint8Array): MsgHdrs => ({ encode: () => bytes }) as unknown as MsgHdrs;

interface Listener {
  readonly subject: string;
  readonly callback: (message: Msg) => void;
  subscription: Subscription | null;
}

function listen(nats: NatsConnection, subject: string, callback: (message: Msg) => void): Subscription | null {
  if (nats.isClosed() || nats.isDraining()) return null;
  return nats.subscribe(subject, { callback: (error, message) => (error === null ? callback(message) : undefined) });
}

const isRefused = (trouble: unknown): boolean => trouble instanceof ServingError && trouble.code === "INVALID_REQUEST";
