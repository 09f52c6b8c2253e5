import { ServingError } from "../../runtime/errors.ts";
import type { Room } from "../contract.ts";
import type { Appended, Entry, Journal } from "../journal.ts";
import { token } from "../name.ts";
import type { Connection } from "./connection.ts";
import type { Placement } from "./messages.ts";
import type { Patience, Stream } from "./stream.ts";
import { lastToken, type Names } from "./subjects.ts";

/** The server's clock is asked again after this long: clocks of servers and of this machine drift apart slowly. */
const CLOCK_MS = 10_000;
/** Sooner if a later time was seen: the clock may have been set, or another server keeps the log now. */
const CLOCK_SEEN_MS = 100;
const FILL_MS = 1_000;
/** Bytes of a log message beside its payload: its subject, its headers, the server's own. */
const MESSAGE_OVERHEAD_BYTES = 200;

/** The log stream, one subject per job, and the live fan-out beside it. */
export class NatsJournal implements Journal {
  readonly #connection: Connection;
  readonly #stream: Stream;
  readonly #beats: Stream;
  readonly #names: Names;
  readonly #patience: Patience;
  readonly #offset: Aged<number>;
  readonly #filled: Aged<Room>;
  /** Appended from here since the stream was last asked for its size. */
  #addedBytes = 0;

  /** `beats`: a stream that always has room. */
  constructor(connection: Connection, { log, beats }: { readonly log: Stream; readonly beats: Stream }, names: Names, patience: Patience) {
    this.#connection = connection;
    this.#stream = log;
    this.#beats = beats;
    this.#names = names;
    this.#patience = patience;
    this.#offset = new Aged(patience, () => this.#measureOffset());
    this.#filled = new Aged(patience, () => this.#measureFill());
  }

  append(jobId: string, bytes: Uint8Array, after: number, id: string): Promise<Appended> {
    this.#addedBytes += bytes.length + MESSAGE_OVERHEAD_BYTES;
    return this.#stream.append(this.#subject(jobId), bytes, id, { after });
  }

  first(jobId: string): Promise<Entry | null> {
    return this.#stream.first(this.#subject(jobId));
  }

  async *lasts(): AsyncGenerator<Entry & { readonly jobId: string }> {
    for await (const entry of this.#stream.lasts(`${this.#names.log.subject}.*`)) yield { ...entry, jobId: lastToken(entry.subject) };
  }

  last(jobId: string): Promise<Entry | null> {
    return this.#stream.last(this.#subject(jobId));
  }

  glance(jobId: string): Promise<Entry | null> {
    return this.#stream.glance(this.#subject(jobId));
  }

  /** A page that does not begin at 0 is of a long log. */
  page(jobId: string, after: number, max: number): Promise<readonly Entry[]> {
    const subject = this.#subject(jobId);
    return after > 0 && max > 1 ? this.#stream.page(subject, after, max) : this.#stream.news(subject, after, max);
  }

  purge(jobId: string): Promise<void> {
    return this.#stream.purge(this.#subject(jobId));
  }

  async nowMs(seenMs = 0): Promise<number> {
    const nowMs = await this.#nowMs(CLOCK_MS);
    return nowMs < seenMs ? this.#nowMs(CLOCK_SEEN_MS) : nowMs;
  }

  async #nowMs(ageMsMax: number): Promise<number> {
    const offsetMs = await this.#offset.get(ageMsMax);
    return this.#patience.clock.monotonicMs() + offsetMs;
  }

  /**
   * A burst of a second may be larger than the room left for running jobs, so bytes added since the last look count
   * too.
   */
  async fill(): Promise<number> {
    const { bytes, bytesMax } = await this.#filled.get(FILL_MS);
    return (bytes + this.#addedBytes) / bytesMax;
  }

  announce(jobId: string, bytes: Uint8Array, hurry: boolean): void {
    if (hurry) this.#connection.publish(this.#live(jobId), bytes);
    else this.#connection.mention(this.#live(jobId), bytes);
  }

  listen(jobId: string, callback: (bytes: Uint8Array | null) => void): () => void {
    const unsubscribe = this.#connection.subscribe(this.#live(jobId), ({ data }) => callback(data));
    const forget = this.#connection.onInterruption(() => callback(null));
    return () => {
      forget();
      unsubscribe();
    };
  }

  #subject(jobId: string): string {
    return `${this.#names.log.subject}.${token(jobId)}`;
  }

  #live(jobId: string): string {
    return `${this.#names.live}.${token(jobId)}`;
  }

  /**
   * Server time minus ours. No request tells the time of a 2.9 server, so a message is stored in the log stream itself
   * and its stamp is read. It is taken as stamped when the answer came: an estimate that is late by less than a claim's
   * life lets claims live longer, never shorter. A full log needs its clock too, or nothing would ever leave it: then
   * the message goes to the beats, which another server of the cluster may keep.
   */
  async #measureOffset(): Promise<number> {
    const inLog = this.#stamped(this.#stream, this.#names.log.clock, { replace: true });
    const stamp = await inLog.catch((thrown: unknown) => {
      if (ServingError.from(thrown).code !== "OVERLOADED") throw thrown;
      return this.#stamped(this.#beats, `${this.#names.beats.subject}.clock`);
    });
    if (stamp === null) throw new ServingError("UNAVAILABLE", "the record's clock cannot be read; try again"); // others measured twice meanwhile
    return stamp.storedMs - this.#patience.clock.monotonicMs();
  }

  async #stamped(stream: Stream, subject: string, placement: Placement = {}): Promise<Entry | null> {
    await stream.put(subject, new Uint8Array(), placement);
    return stream.last(subject);
  }

  async #measureFill(): Promise<Room> {
    const before = this.#addedBytes;
    const room = await this.#stream.room();
    this.#addedBytes -= before;
    return room;
  }
}

/** A value that is good for a while; overlapping calls share one measurement. */
class Aged<T> {
  readonly #patience: Patience;
  readonly #measure: () => Promise<T>;
  #value: Promise<T> | null = null;
  #sinceMs = 0;

  constructor(patience: Patience, measure: () => Promise<T>) {
    this.#patience = patience;
    this.#measure = measure;
  }

  get(ageMsMax: number): Promise<T> {
    const nowMs = this.#patience.clock.monotonicMs();
    if (this.#value === null || nowMs - this.#sinceMs >= ageMsMax) {
      this.#sinceMs = nowMs;
      this.#value = this.#measure();
      this.#value.catch(() => {
        this.#value = null;
      });
    }
    return this.#value;
  }
}
