import { expect, test } from "vitest";
import type { Bus, Claim, JobEvent, JobRequest, LogRecord } from "../../../services/shared/bus/contract.ts";
import { enqueue } from "../../../services/shared/bus/enqueue.ts";
import { TURN_IS_OVER } from "../../../services/shared/bus/reasons.ts";
import { seededRandom } from "../../../services/shared/runtime/random.ts";
import type { SegmentStore } from "../../../services/shared/segments/contract.ts";
import { alone } from "../../support/alone.ts";
import { answered } from "../../support/answers.ts";
import { Dice } from "../../support/dice.ts";
import { engineOptions, promptIds, SEGMENT } from "../../support/model.ts";
import { overriding } from "../../support/overriding.ts";
import { VirtualClock } from "../../support/virtual-clock.ts";
import { memoryStore, requestOf, testCluster, type Worker } from "../../support/workers.ts";

/** All times here are counted in chunks: the clock is the tests' own. */
const CHUNK_MS = 1_000;
const LOOK_MS = 250;

interface Crowd {
  readonly slots: number;
  readonly workers?: number;
  readonly store?: (store: SegmentStore) => SegmentStore;
  readonly busOf?: (bus: Bus) => Bus;
}

/** Prefill workers with few slots, one for decode, and what they compute, on a clock of their own. */
function crowd({ slots, workers = 1, store = (store) => store, busOf = (bus) => bus }: Crowd) {
  const clock = new VirtualClock();
  const cluster = testCluster({ clock, store: store(memoryStore(clock)), busOf });
  const engine = { chunkMs: CHUNK_MS, layers: 5, turn: () => clock.sleep(0) };
  let computed = 0;
  const start = (): Worker =>
    cluster.start("prefill", {
      engine,
      engineOf: (engine) =>
        overriding(engine, {
          prefill: async (sequence, ids, options) => {
            computed += ids.length;
            return engine.prefill(sequence, ids, options);
          },
        }),
      settings: { prefillSlots: slots, chunkMs: CHUNK_MS },
    });
  const [worker] = Array.from({ length: workers }, start);
  cluster.start("decode", { engine });
  const request = (ids: Int32Array, more: Partial<JobRequest> = {}) =>
    ({ prompt: { ids }, maxTokens: 20, deadlineMs: clock.nowMs() + 1e9, ...more }) as const;
  return {
    cluster,
    clock,
    worker: worker!,
    start,
    get computed() {
      return computed;
    },
    submit: (ids: Int32Array, more: Partial<JobRequest> = {}) => cluster.submit(request(ids, more)),
    isComputed: (jobId: string) => cluster.until(jobId, ({ event }) => event.type === "progress" && event.done >= 2 * SEGMENT),
    /** Every event of each job, once all have ended with the ids of the engine alone, with the right usage, and after so many attempts at most. */
    async ended(jobs: readonly { readonly jobId: string; readonly ids: Int32Array }[], attempts = 1): Promise<LogRecord[][]> {
      const logs = await Promise.all(jobs.map(({ jobId }) => cluster.events(jobId)));
      for (const [i, records] of logs.entries()) {
        const { ids } = jobs[i]!;
        const expected = await alone(requestOf(request(ids)));
        expect(answered(records).ids).toEqual(expected.ids);
        expect(records.at(-1)!.event).toMatchObject({ type: "finished", usage: { promptTokens: ids.length, cachedTokens: 0 } });
        expect(Math.max(...records.map(({ attempt }) => attempt))).toBeLessThanOrEqual(attempts);
      }
      await cluster.close();
      return logs;
    },
  };
}

const isYield = ({ event }: LogRecord) => event.type === "released" && event.reason === TURN_IS_OVER;
const yields = (logs: readonly (readonly LogRecord[])[]) => logs.flat().filter(isYield).length;
const claimOf = (records: readonly LogRecord[]) => records.find(({ event }) => event.type === "claimed")!;
const long = (salt: number, tokens = 2_500) => promptIds(tokens, salt);
const short = promptIds(50, 400);

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

test("a store that takes nothing: each keeps its place to its end, as if there were no turns", async () => {
  const it = crowd({ slots: 1, store: (store) => overriding(store, { put: async () => false }) });
  const work = async () =>
    it.ended(await Promise.all([1, 2].map(async (salt) => ({ ids: long(salt), jobId: await it.submit(long(salt)) }))), 2);
  expect(yields(await it.clock.run(work()))).toBe(0);
});

/** A long job, and a short one behind it, where the store does not take the second value that it is given: the first time, or ever. */
async function behindALoss(how: "refused" | "thrown", forever: boolean) {
  let puts = 0;
  let lost: string | null = null;
  const it = crowd({
    slots: 1,
    store: (store) =>
      overriding(store, {
        put: async (key, ...rest) => {
          if (++puts === 2) lost = key;
          else if (!forever || key !== lost) return store.put(key, ...rest);
          if (how === "thrown") throw new Error("our own mistake");
          return false;
        },
      }),
  });
  const work = async () => {
    const jobs = [{ ids: long(1), jobId: await it.submit(long(1)) }];
    await it.isComputed(jobs[0]!.jobId);
    jobs.push({ ids: short, jobId: await it.submit(short) });
    return it.ended(jobs, 2);
  };
  return { logs: await it.clock.run(work()), computed: it.computed };
}

test.each(["refused", "thrown"] as const)(
  "a segment that the store once did not take (%s) is offered again: its job gives up its place, and nothing is computed twice",
  async (how) => {
    const { logs, computed } = await behindALoss(how, false);
    expect(yields(logs)).toBeGreaterThan(0);
    expect(computed).toBe(long(1).length + short.length);
  },
);

test.each(["refused", "thrown"] as const)("a segment that the store never takes (%s): its job keeps its place", async (how) => {
  const { logs } = await behindALoss(how, true);
  expect(yields(logs)).toBe(0);
});

test("a store that keeps nothing while a job waits: turns grow, and little is computed twice", async () => {
  const gone = new Set<unknown>();
  const it = crowd({
    slots: 1,
    store: (store) =>
      overriding(store, {
        put: async (key, ...rest) => {
          gone.delete(key);
          return store.put(key, ...rest);
        },
        countPrefix: async (keys) => {
          for (const key of keys) gone.add(key);
          return 0;
        },
        get: async (key, ...rest) => (gone.has(key) ? null : store.get(key, ...rest)),
      }),
  });
  const prompts = [1, 2, 3].map((salt) => long(salt, 3_900));
  const work = async () => it.ended(await Promise.all(prompts.map(async (ids) => ({ ids, jobId: await it.submit(ids) }))));
  const logs = await it.clock.run(work());
  expect(yields(logs)).toBeGreaterThan(0);
  expect(it.computed).toBeLessThan(2.25 * 3 * 3_900);
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

/** Where a worker may die that passes a job on, and what goes there. */
const places = ["before its event", "behind its event", "behind its message"] as const;

test.each(places)("a worker that dies while a job gives up its place, %s: nothing is lost, and nothing done twice", async (place) => {
  let deaths = 0;
  const at = (here: (typeof places)[number]) => {
    if (here !== place || deaths > 0) return false;
    deaths++;
    it.worker.life.kill();
    it.start();
    return true;
  };
  const yielding = (event: JobEvent) => event.type === "released" && event.reason === TURN_IS_OVER;
  const watched = (claim: Claim): Claim =>
    overriding(claim, {
      append: async (event) => {
        if (!yielding(event)) return claim.append(event);
        if (at("before its event")) return new Promise(() => {});
        const record = await claim.append(event);
        at("behind its event");
        return record;
      },
    });
  const it = crowd({
    slots: 1,
    busOf: (bus) => ({
      ...bus,
      log: overriding(bus.log, {
        claim: async (...args) => {
          const result = await bus.log.claim(...args);
          return result.kind === "claimed" ? { ...result, claim: watched(result.claim) } : result;
        },
      }),
      queue: overriding(bus.queue, {
        publish: async (phase, model, lane, item) => {
          await bus.queue.publish(phase, model, lane, item);
          if (phase === "prefill" && item.epoch !== 0) at("behind its message");
        },
      }),
    }),
  });
  const work = async () => {
    const jobs = await Promise.all([1, 2, 3].map(async (salt) => ({ ids: long(salt), jobId: await it.submit(long(salt)) })));
    return it.ended(jobs, 2); // whoever had claimed to wait for the place died with it
  };
  expect(yields(await it.clock.run(work()))).toBeGreaterThan(0);
  expect(deaths).toBe(1);
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
