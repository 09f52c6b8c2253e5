import { connect, headers, type NatsConnection } from "nats";
import { names } from "../../../services/shared/bus/nats/subjects.ts";
import { secondsOf } from "../bench.ts";

/** Subjects appended to at once. */
const SUBJECTS = 64;
const bytes = new Uint8Array(128);

/**
 * What nats-server gives to whoever only appends: small messages, each with an id and the expected last sequence of its subject, into a stream
 * with the settings of the job log, which lives as long as `use`.
 */
export async function fencedAppends<T>(url: string, use: (appends: FencedAppends) => Promise<T>): Promise<T> {
  const nats = await connect({ servers: url });
  try {
    const subject = `raw-${process.hrtime.bigint()}`;
    const manager = await nats.jetstreamManager();
    const settings = { storage: "file", discard: "new", allow_direct: true, duplicate_window: 120e9 };
    await manager.streams.add({ name: subject.toUpperCase(), subjects: [`${subject}.*`], ...settings } as never);
    const got = await use(new FencedAppends(nats, subject));
    await manager.streams.delete(subject.toUpperCase());
    return got;
  } finally {
    await nats.close();
  }
}

class FencedAppends {
  readonly #nats: NatsConnection;
  readonly #subject: string;
  #next = 0;

  constructor(nats: NatsConnection, subject: string) {
    this.#nats = nats;
    this.#subject = subject;
  }

  /** Of `count` appends, one under way on each of 64 subjects: how many a second. */
  async perSecond(count: number): Promise<number> {
    const lane = async () => {
      const subject = this.#next++;
      let last = 0;
      for (let i = 0; i < count / SUBJECTS; i++) last = await this.#append(subject, last);
    };
    const seconds = await secondsOf(() => Promise.all(Array.from({ length: SUBJECTS }, lane)));
    return (Math.ceil(count / SUBJECTS) * SUBJECTS) / seconds;
  }

  /** One append, to a subject of its own. */
  async once(): Promise<void> {
    await this.#append(this.#next++, 0);
  }

  async #append(subject: number, last: number): Promise<number> {
    const all = headers();
    all.set("Nats-Msg-Id", `${subject}:${last}`);
    all.set("Nats-Expected-Last-Subject-Sequence", String(last));
    const answer = await this.#nats.request(`${this.#subject}.${subject}`, bytes, { headers: all, timeout: 10_000 });
    return answer.json<{ seq: number }>().seq;
  }
}

/**
 * What jobs have written: the messages that all streams of a server have accepted, but signs of life and the log's clock, which are written
 * by time and not by job. The log keeps every event, and one message of its clock.
 */
export async function jobWrites(url: string): Promise<number> {
  const { log, beats } = names("longshore");
  const nats = await connect({ servers: url });
  try {
    const manager = await nats.jetstreamManager();
    let writes = 0;
    for await (const { config, state } of manager.streams.list())
      if (config.name !== beats.stream) writes += config.name === log.stream ? state.messages : state.last_seq;
    return writes;
  } finally {
    await nats.close();
  }
}
