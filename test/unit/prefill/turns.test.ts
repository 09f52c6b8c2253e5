import { expect, test } from "vitest";
import { enqueue } from "../../../services/shared/bus/enqueue.ts";
import type { LogRecord } from "../../../services/shared/bus/events.ts";
import { seededRandom } from "../../../services/shared/runtime/random.ts";
import { alone } from "../../support/alone.ts";
import { answered } from "../../support/answers.ts";
import { CHUNK_MS, crowd, isYield, long, short, yields } from "../../support/crowd.ts";
import { Dice } from "../../support/dice.ts";
import { engineOptions, promptIds, SEGMENT } from "../../support/model.ts";
import { requestOf } from "../../support/workers.ts";

const LOOK_MS = 250;
const claimOf = (records: readonly LogRecord[]) => records.find(({ event }) => event.type === "claimed")!;

test.each(Array.from({ length: 12 }, (_, seed) => [seed]))(
  "a short prompt behind long ones waits for one turn of each that is before it, and turns compute nothing twice (seed %d)",
  async (seed) => {
    const dice = new Dice(seededRandom(seed));
    const slots = dice.whole(1, 3);
    const it = crowd({ slots });
    const longs = Array.from({ length: slots + dice.whole(0, 4) }, (_, salt) => long(salt, dice.whole(1_000, 3_500)));
    const work = async () => {
      const jobs = await Promise.all(longs.map(async (ids) => ({ ids, jobId: await it.submit(ids) })));
      await Promise.all(jobs.slice(0, slots).map(({ jobId }) => it.isComputed(jobId)));
      await it.clock.sleep(dice.upTo(5 * CHUNK_MS));
      const submittedMs = it.clock.nowMs();
      jobs.push({ ids: short, jobId: await it.submit(short) });
      return { submittedMs, logs: await it.ended(jobs) };
    };
    const { submittedMs, logs } = await it.clock.run(work());
    const mine = logs.at(-1)!;
    const [submitted, claimed] = [mine[0]!, claimOf(mine)];
    for (const records of logs.slice(0, -1)) {
      const turns = records.filter(({ sequence, event }) => {
        return event.type === "claimed" && sequence > submitted.sequence && sequence < claimed.sequence;
      });
      expect(turns.length).toBeLessThanOrEqual(1);
    }
    // A turn ends after three chunks and once a segment is stored, which takes two chunks of its own; whoever leaves finishes one.
    const turnMs = LOOK_MS + CHUNK_MS * (3 + 4 * slots);
    const rounds = Math.ceil((longs.length - slots) / Math.max(1, slots - 1)); // the first of several keeps its place
    expect(claimed.atMs - submittedMs).toBeLessThanOrEqual(turnMs * (1 + rounds));
    expect(yields(logs)).toBeGreaterThan(0);
    expect(it.computed).toBe([...longs, short].reduce((sum, { length }) => sum + length, 0));
    for (const { event } of logs.flat()) if (event.type === "handed_over") expect(event.recomputed).toBe(0);
  },
);

test("nobody gives up a place that nobody waits for, nor for batch work, nor while another worker has room", async () => {
  const it = crowd({ slots: 1, workers: 2 });
  const work = async () => {
    const first = { ids: long(1), jobId: await it.submit(long(1)) };
    await it.isComputed(first.jobId);
    await it.clock.sleep(10 * CHUNK_MS);
    const second = { ids: short, jobId: await it.submit(short) };
    await it.cluster.answer(second.jobId);
    const third = { ids: long(2), jobId: await it.submit(long(2)) };
    await it.isComputed(third.jobId);
    const batch = { ids: long(3), jobId: await it.submit(long(3), { lane: "batch" }) };
    return it.ended([first, second, third, batch]);
  };
  expect(yields(await it.clock.run(work()))).toBe(0);
});

test.each([1, 6])("of many workers with %d places one claims who waits, before anybody makes way for it", async (slots) => {
  const it = crowd({ slots, workers: 3 });
  const work = async () => {
    const longs = Array.from({ length: 3 * slots }, (_, salt) => long(salt));
    const jobs = await Promise.all(longs.map(async (ids) => ({ ids, jobId: await it.submit(ids) })));
    await Promise.all(jobs.map(({ jobId }) => it.isComputed(jobId)));
    await it.clock.sleep(5 * CHUNK_MS);
    jobs.push({ ids: short, jobId: await it.submit(short) });
    return it.ended(jobs);
  };
  const logs = await it.clock.run(work());
  const { sequence } = claimOf(logs.at(-1)!);
  expect(yields(logs.map((records) => records.filter((record) => record.sequence < sequence)))).toBe(0);
  expect(yields(logs)).toBeGreaterThan(0);
  expect(logs.at(-1)!.filter(({ event, phase }) => event.type === "claimed" && phase === "prefill")).toHaveLength(1);
});

test("a message too many, as whoever dies between two writes leaves it, moves nobody from his place", async () => {
  const it = crowd({ slots: 1 });
  const work = async () => {
    const ids = long(1);
    const jobId = await it.submit(ids);
    await enqueue(it.cluster.bus.queue, "prefill", jobId, requestOf({ prompt: { ids } }), 1);
    return it.ended([{ ids, jobId }]);
  };
  expect(yields(await it.clock.run(work()))).toBe(0);
});

test("while the holder of a shared prefix is put aside, who waits for it goes on with it: it is computed once", async () => {
  const document = promptIds(24 * SEGMENT, 7);
  const questions = [1, 2].map((n) => Int32Array.from([...document, 100 + n, 200 + n]));
  const it = crowd({ slots: 1 });
  const work = async () => {
    const first = await it.submit(questions[0]!);
    await it.isComputed(first);
    const others = [await it.submit(questions[1]!), await it.submit(long(3))];
    return Promise.all([first, ...others].map((jobId) => it.cluster.events(jobId)));
  };
  const logs = await it.clock.run(work());
  for (const [i, ids] of [...questions, long(3)].entries())
    expect(answered(logs[i]!).ids).toEqual((await alone(requestOf({ prompt: { ids }, maxTokens: 20 }))).ids);
  const turns = yields(logs);
  expect(turns).toBeGreaterThan(0);
  const once = document.length + 2 + 2 + long(3).length;
  expect(it.computed).toBeLessThanOrEqual(once + turns * (SEGMENT + engineOptions.replayTokens!));
  await it.clock.run(it.cluster.close());
});

test("a job that is cancelled while it waits for its next turn ends there", async () => {
  const it = crowd({ slots: 1 });
  const work = async () => {
    const jobs = [await it.submit(long(1)), await it.submit(long(2))];
    await it.cluster.until(jobs[0]!, isYield);
    await it.cluster.bus.registry.markCancelled(jobs[0]!, "the test");
    const logs = await Promise.all(jobs.map((jobId) => it.cluster.events(jobId)));
    await it.cluster.close();
    return logs.map((records) => records.at(-1)!.event.type);
  };
  expect(await it.clock.run(work())).toEqual(["cancelled", "finished"]);
});
