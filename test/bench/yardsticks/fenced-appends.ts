import { connect, headers } from "nats";
import { names } from "../../../services/shared/bus/nats/subjects.ts";
import { secondsOf } from "../bench.ts";

/** Subjects appended to at once. */
const SUBJECTS = 64;
const MESSAGE_BYTES = 128;

/**
 * Appends per second that nats-server gives to whoever only appends: `count` small messages, each with an id and the expected last sequence of
 * its subject, one under way on each of 64 subjects, into a stream with the settings of the job log.
 */
export async function fencedAppends(url: string, count: number): Promise<number> {
  const nats = await connect({ servers: url });
  try {
    const subject = `raw-${process.hrtime.bigint()}`;
    const manager = await nats.jetstreamManager();
    const name = subject.toUpperCase();
    await manager.streams.add({
      name,
      subjects: [`${subject}.*`],
      storage: "file",
      discard: "new",
      allow_direct: true,
      duplicate_window: 120e9,
    } as never);
    const bytes = new Uint8Array(MESSAGE_BYTES);
    const append = async (index: number) => {
      let last = 0;
      for (let i = 0; i < count / SUBJECTS; i++) {
        const all = headers();
        all.set("Nats-Msg-Id", `${index}:${i}`);
        all.set("Nats-Expected-Last-Subject-Sequence", String(last));
        const answer = await nats.request(`${subject}.${index}`, bytes, { headers: all, timeout: 10_000 });
        last = answer.json<{ seq: number }>().seq;
      }
    };
    const seconds = await secondsOf(() => Promise.all(Array.from({ length: SUBJECTS }, (_, i) => append(i))));
    await manager.streams.delete(name);
    return (Math.ceil(count / SUBJECTS) * SUBJECTS) / seconds;
  } finally {
    await nats.close();
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
