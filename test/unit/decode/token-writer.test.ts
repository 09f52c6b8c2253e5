import { expect, test } from "vitest";
import { TokenWriter } from "../../../services/decode/token-writer.ts";
import type { JobEvent } from "../../../services/shared/bus/events.ts";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import { ServingError } from "../../../services/shared/runtime/errors.ts";
import type { HeldJob } from "../../../services/shared/worker/held-job.ts";

/** A job whose log answers one append for each call of `answer`. */
function slowJob() {
  const appended: JobEvent[] = [];
  const waiting: (() => void)[] = [];
  let arrived = () => {};
  const job = {
    append: (event: JobEvent) =>
      new Promise<void>((resolve) => {
        waiting.push(() => {
          appended.push(event);
          resolve();
        });
        arrived();
      }),
  } as unknown as HeldJob;
  /** Resolves once an append waits for its answer. */
  const asked = async () => {
    if (waiting.length === 0) await new Promise<void>((resolve) => (arrived = resolve));
  };
  return { job, appended, asked, answer: () => waiting.shift()?.() };
}

test("a writer that became full while its log was slow tells when it has room again", async () => {
  const { job, appended, asked, answer } = slowJob();
  let rooms = 0;
  const writer = new TokenWriter(job, systemClock, { flushTokens: 8, flushMs: 1 }, 0, () => rooms++);
  for (let id = 0; id < 8; id++) writer.add(id);
  await asked();
  for (let id = 8; !writer.full; id++) writer.add(id);
  expect(rooms).toBe(0);
  answer();
  await asked();
  expect([writer.full, rooms]).toEqual([false, 1]);
  answer();
  await writer.close();
  const ids = appended.flatMap((event) => (event.type === "tokens" ? event.ids : []));
  expect(ids).toEqual(Array.from({ length: 64 }, (_, id) => id));
  expect(rooms).toBe(1);
});

test("the end of an answer takes along what did not fill a flush, once all before it is in the log", async () => {
  const { job, appended, asked, answer } = slowJob();
  const writer = new TokenWriter(job, systemClock, { flushTokens: 8, flushMs: 60_000 }, 1, () => {});
  for (let id = 1; id <= 8; id++) writer.add(id);
  await asked();
  for (let id = 9; id <= 11; id++) writer.add(id);
  const finished = writer.finish();
  answer();
  expect(await finished).toEqual({ tokens: { first: 9, ids: [9, 10, 11] } });
  expect(appended).toEqual([{ type: "tokens", first: 1, ids: [1, 2, 3, 4, 5, 6, 7, 8] }]);
});

test("an answer whose tokens are all in the log leaves nothing for its end", async () => {
  const { job, asked, answer } = slowJob();
  const writer = new TokenWriter(job, systemClock, { flushTokens: 2, flushMs: 60_000 }, 0, () => {});
  writer.add(1);
  writer.add(2);
  await asked();
  const finished = writer.finish();
  answer();
  expect(await finished).toEqual({});
});

test("tokens that the log did not take interrupt their job, and are told to whoever ends the answer", async () => {
  const full = new ServingError("OVERLOADED", "the log is full");
  const stop = new AbortController();
  const { signal } = stop;
  const job = { append: () => Promise.reject(full), interrupt: (reason: unknown) => stop.abort(reason), signal } as unknown as HeldJob;
  const writing = () => {
    const writer = new TokenWriter(job, systemClock, { flushTokens: 2, flushMs: 60_000 }, 5, () => {});
    writer.add(7);
    writer.add(8);
    return writer;
  };
  const [one, other] = [writing(), writing()];
  await expect(one.close()).rejects.toBe(full);
  expect(await other.finish()).toEqual({ tokens: { first: 5, ids: [7, 8] } });
});
