import { createHash } from "node:crypto";
import type { KeptKey, Noted, Registry } from "../contract.ts";
import { token } from "../name.ts";
import type { Connection } from "./connection.ts";
import type { Stored } from "./messages.ts";
import type { Stream } from "./stream.ts";
import { lastToken, type Names } from "./subjects.ts";

/** The most processes of one role that are listed. */
const BEATS_MAX = 10_000;

type Buckets = Readonly<Record<"beats" | "keys" | "marks" | "jobs" | "access", Stream>>;

/** One bucket per life time: a stream that keeps the last message of each subject. */
export class NatsRegistry implements Registry {
  readonly #connection: Connection;
  readonly #buckets: Buckets;
  readonly #names: Names;

  constructor(connection: Connection, buckets: Buckets, names: Names) {
    this.#connection = connection;
    this.#buckets = buckets;
    this.#names = names;
  }

  async beat(role: string, id: string, value: string): Promise<void> {
    await this.#buckets.beats.put(this.#beat(role, token(id)), encode(value));
  }

  async beats(role: string): Promise<ReadonlyMap<string, string>> {
    const beats = await this.#buckets.beats.each(this.#beat(role, "*"), BEATS_MAX);
    return new Map(beats.map(({ subject, bytes }) => [lastToken(subject), decode(bytes)]));
  }

  retire(role: string, id: string): Promise<void> {
    return this.#buckets.beats.purge(this.#beat(role, token(id)));
  }

  async remember(key: string, value: string): Promise<string | null> {
    const subject = this.#key(key);
    for (;;) {
      if ((await this.#buckets.keys.put(subject, encode(value), { after: 0 })) !== null) return null;
      const earlier = await this.#buckets.keys.last(subject);
      if (earlier !== null) return decode(earlier.bytes);
    }
  }

  async recall(key: string): Promise<string | null> {
    const earlier = await this.#buckets.keys.glance(this.#key(key));
    return earlier === null ? null : decode(earlier.bytes);
  }

  async markCancelled(jobId: string, by: string): Promise<void> {
    await this.#buckets.marks.put(`${this.#names.marks.subject}.${token(jobId)}`, encode(by));
    this.#connection.publish(this.#names.cancel, jobId);
  }

  async cancelMark(jobId: string): Promise<string | null> {
    const mark = await this.#buckets.marks.glance(`${this.#names.marks.subject}.${token(jobId)}`);
    return mark === null ? null : decode(mark.bytes);
  }

  async cancelMarks(after: number, max: number): Promise<readonly Noted[]> {
    return (await this.#buckets.marks.news(`${this.#names.marks.subject}.*`, after, max)).map(noted);
  }

  async onCancel(callback: (jobId: string) => void, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const unsubscribe = this.#connection.subscribe(this.#names.cancel, ({ data }) => callback(decode(data)));
    signal.addEventListener("abort", () => unsubscribe(), { once: true });
    await this.#connection.settled();
  }

  async noteJob(jobId: string, text: string): Promise<void> {
    await this.#buckets.jobs.put(`${this.#names.jobs.subject}.${token(jobId)}`, encode(text));
  }

  async notes(after: number, max: number): Promise<readonly Noted[]> {
    return (await this.#buckets.jobs.news(`${this.#names.jobs.subject}.*`, after, max)).map(noted);
  }

  async indexEnd(): Promise<number> {
    return (await this.#buckets.jobs.info()).state.last_seq;
  }

  async noteFailure(jobId: string, text: string): Promise<void> {
    await this.#buckets.marks.put(`${this.#failed}.${token(jobId)}`, encode(text));
  }

  failures(limit: number): Promise<readonly Noted[]> {
    return latest(this.#buckets.marks, `${this.#failed}.*`, limit);
  }

  async lowWater(): Promise<number | null> {
    const mark = await this.#buckets.marks.last(this.#lowWater);
    const place = mark === null ? null : Number(decode(mark.bytes));
    return Number.isSafeInteger(place) ? place : null;
  }

  async raiseLowWater(place: number): Promise<void> {
    await this.#buckets.marks.put(this.#lowWater, encode(String(place)));
  }

  /** Two tokens deep, where no job's mark can be. */
  get #lowWater(): string {
    return `${this.#names.marks.subject}.index.low`;
  }
  get #failed(): string {
    return `${this.#names.marks.subject}.failed`;
  }

  async forget(jobId: string): Promise<void> {
    await Promise.all([
      this.#buckets.jobs.purge(`${this.#names.jobs.subject}.${token(jobId)}`),
      this.#buckets.marks.purge(`${this.#names.marks.subject}.${token(jobId)}`),
      this.#buckets.marks.purge(`${this.#failed}.${token(jobId)}`),
    ]);
  }

  jobs(limit: number): Promise<readonly Noted[]> {
    return latest(this.#buckets.jobs, `${this.#names.jobs.subject}.*`, limit);
  }

  async keepKey(id: string, text: string): Promise<void> {
    await this.#buckets.access.put(`${this.#names.access.subject}.${token(id)}`, encode(text));
  }

  forgetKey(id: string): Promise<void> {
    return this.#buckets.access.purge(`${this.#names.access.subject}.${token(id)}`);
  }

  async keptKeys(after: number, max: number): Promise<readonly KeptKey[]> {
    const kept = await this.#buckets.access.news(`${this.#names.access.subject}.*`, after, max);
    return kept.map(({ sequence, subject, bytes }) => ({ place: sequence, id: lastToken(subject), text: decode(bytes) }));
  }

  /** Keys come from clients and may be long, so their hash stands for them. */
  #key(key: string): string {
    return `${this.#names.keys.subject}.${createHash("sha256").update(key).digest("hex")}`;
  }

  #beat(role: string, id: string): string {
    return `${this.#names.beats.subject}.${token(role)}.${id}`;
  }
}

/**
 * Reads the end of the stream, and more of it while that holds too few: a job noted again leaves a gap where it was.
 */
async function latest(stream: Stream, filter: string, limit: number): Promise<readonly Noted[]> {
  const { state } = await stream.info();
  for (let back = 2 * limit; ; back *= 4) {
    const after = Math.max(0, state.last_seq - back);
    const notes = await stream.page(filter, after, back);
    if (notes.length < limit && after > 0 && after >= state.first_seq) continue; // an empty stream begins at 0
    return notes
      .slice(Math.max(0, notes.length - limit))
      .reverse()
      .map(noted);
  }
}

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const noted = ({ subject, sequence, storedMs, bytes }: Stored): Noted => ({
  place: sequence,
  jobId: lastToken(subject),
  text: decode(bytes),
  notedMs: storedMs,
});
const decode = (bytes: Uint8Array): string => Buffer.from(bytes).toString("utf8");
