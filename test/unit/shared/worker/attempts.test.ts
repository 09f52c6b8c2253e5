import { expect, test } from "vitest";
import type { Appended, Journal } from "../../../../services/shared/bus/journal.ts";
import { FencedLog } from "../../../../services/shared/bus/log.ts";
import { MemoryJournal } from "../../../../services/shared/bus/memory/journal.ts";
import { ServingError } from "../../../../services/shared/runtime/errors.ts";
import { seededRandom } from "../../../../services/shared/runtime/random.ts";
import { claimJob } from "../../../../services/shared/worker/claim-job.ts";
import { never, request } from "../../../support/bus.ts";
import { memoryOpenToOthers } from "../../../support/damage.ts";
import { promptIds } from "../../../support/model.ts";
import { overriding } from "../../../support/overriding.ts";
import { VirtualClock } from "../../../support/virtual-clock.ts";
import { requestOf, testCluster } from "../../../support/workers.ts";

/** A claim counts as an attempt of the job, and five that store nothing fail it: what nobody worked at must not count. */
const rules = { claimMs: 20_000, attemptsMax: 5, answerMs: 5_000, appendMs: 60_000 };
const away = () => Promise.reject(new ServingError("UNAVAILABLE", "the record is away"));

function logOver(methods: (journal: Journal, clock: VirtualClock) => Partial<Journal>) {
  const clock = new VirtualClock();
  const journal = new MemoryJournal({ bytesMax: 1e9, ageMsMax: 1e12, dedupeMs: 120_000 }, clock);
  const open = (over: Journal, seed: number) => new FencedLog(over, rules, clock, seededRandom(seed), never);
  return { clock, whole: open(journal, 1), log: open(overriding<Journal>(journal, methods(journal, clock)), 2) };
}

test("a claim before which the log could not be read is none", async () => {
  const { whole, log } = logOver(() => ({ page: away }));
  await whole.submit("job", request());
  await whole.appendAfter((await whole.last("job"))!, { type: "sent_back", reason: "so that there is something to read" });
  for (let i = 0; i < 10; i++) await expect(log.claim("job", "prefill", "w")).rejects.toMatchObject({ code: "UNAVAILABLE" });
  expect(await whole.last("job")).toMatchObject({ epoch: 0, attempt: 0 });
  expect(await whole.claim("job", "prefill", "w")).toMatchObject({ kind: "claimed", claim: { attempt: 1 }, history: { length: 3 } });
});

test.each([6_000, 19_000])("a claim whose answer is %d ms late is held all the same", async (lateMs) => {
  const { clock, whole, log } = logOver((journal, clock) => ({
    append: async (...entry): Promise<Appended> => {
      const outcome = await journal.append(...entry);
      return clock.monotonicMs() < lateMs ? { kind: "unknown", cause: new Error("no answer") } : outcome;
    },
  }));
  await whole.submit("job", request());
  expect(await clock.run(log.claim("job", "prefill", "w"))).toMatchObject({ kind: "claimed", claim: { attempt: 1 } });
  expect((await whole.read("job")).map(({ event }) => event.type)).toEqual(["submitted", "claimed"]);
});

test("a worker asks the record nothing between its claim and its work", async () => {
  const { bus } = memoryOpenToOthers();
  await bus.log.submit("job", request({ model: "m" }));
  await bus.queue.publish("prefill", "m", "interactive", { jobId: "job", promptTokens: 3 });
  const message = (await bus.queue.pull("prefill", "m", 1_000, never))!;
  const claiming = { phase: "prefill", worker: "w", claimMs: 20_000, turnMs: 1_000, clock: new VirtualClock() } as const;
  const deaf = { ...bus, log: overriding(bus.log, { nowMs: away }) };
  await expect(claimJob(deaf, claiming, message)).rejects.toMatchObject({ code: "UNAVAILABLE" });
  expect(await bus.log.last("job")).toMatchObject({ event: { type: "submitted" }, attempt: 0 });
  const mute = { ...bus, log: overriding(bus.log, { last: away, lastStored: away, read: away, first: away }) };
  expect(await claimJob(mute, claiming, message)).toMatchObject({ jobId: "job" });
});

test("a prompt that the record cannot give for a while is fetched when it can, and no attempt counts", async () => {
  const clock = new VirtualClock();
  let refused = 0;
  const cluster = testCluster({
    clock,
    attemptsMax: 2,
    busOf: (bus) => ({
      ...bus,
      payloads: overriding(bus.payloads, { get: (key) => (++refused <= 10 ? away() : bus.payloads.get(key)) }),
    }),
  });
  const ids = promptIds(300);
  await cluster.bus.payloads.put("prompt", new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength));
  for (const role of ["prefill", "decode"] as const) cluster.start(role, { engine: { turn: () => clock.sleep(0) } });
  const deadlineMs = clock.nowMs() + 600_000;
  const work = async () => {
    const jobId = await cluster.submit({ prompt: { payload: "prompt" }, promptTokens: ids.length, deadlineMs });
    return cluster.events(jobId);
  };
  const records = await clock.run(work());
  expect(records.at(-1)!.event.type).toBe("finished");
  expect(Math.max(...records.map(({ attempt }) => attempt))).toBe(1);
  expect(records.filter(({ event }) => event.type === "released")).toHaveLength(10);
  await clock.run(cluster.close());
});

test("a job that cannot be read takes no slot and no time from the others: its message comes once per ack wait", async () => {
  const clock = new VirtualClock();
  const ackWaitMs = 800;
  const { bus, write } = memoryOpenToOthers({ clock, claimMs: 700, ackWaitMs });
  let tries = 0;
  const counted = overriding(bus.log, { claim: (jobId, ...rest) => bus.log.claim(jobId, ...rest).finally(() => tries++) });
  const cluster = testCluster({ clock, busOf: () => ({ ...bus, log: counted }) });
  const worker = cluster.start("prefill", { engine: { turn: () => clock.sleep(0) }, settings: { prefillSlots: 1 } });
  cluster.start("decode", { engine: { turn: () => clock.sleep(0) } });
  const deadlineMs = clock.nowMs() + 600_000;
  const damaged = async () => {
    await bus.log.submit("damaged", requestOf({ deadlineMs }));
    await write("damaged", Buffer.from("no record of ours"));
    await bus.queue.publish("prefill", "m", "interactive", { jobId: "damaged", promptTokens: 300 });
  };
  const work = async () => {
    await damaged();
    const startMs = clock.monotonicMs();
    expect((await cluster.answer(await cluster.submit({ deadlineMs }))).end.type).toBe("finished");
    const before = tries;
    await clock.sleep(100 * ackWaitMs - (clock.monotonicMs() - startMs));
    return tries - before;
  };
  expect(await clock.run(work())).toBeLessThanOrEqual(100);
  expect(await bus.log.lastStored("damaged")).toMatchObject({ record: null });
  expect(await bus.queue.messages("prefill")).toHaveLength(1);
  expect(worker.engine.held).toEqual({ sequences: 0, memories: 0 });
  await clock.run(cluster.close());
});
