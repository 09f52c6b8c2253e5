import { expect, test } from "vitest";
import { Admission, type Demand } from "../../../services/api/admission/admission.ts";
import { Places } from "../../../services/api/admission/places.ts";
import { type Submission, submit } from "../../../services/api/submit.ts";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import type { JobRequest, Lane } from "../../../services/shared/bus/events.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import { ServingError } from "../../../services/shared/runtime/errors.ts";
import { systemRandom } from "../../../services/shared/runtime/random.ts";
import { never, request } from "../../support/bus.ts";
import { overriding } from "../../support/overriding.ts";

const { prompt: _, promptTokens: __, tenant, ...job } = request();
const deps = (bus: Bus) => ({
  bus,
  random: systemRandom,
  admission: new Admission(bus, systemClock, job.model, { queueJobsMax: 10, backlogTokensMax: 10_000, shareMs: 10_000 }),
});
const keyed = (seed: bigint): Submission => ({
  tenant,
  request: { ...job, sampling: { ...job.sampling, seed } },
  ids: Int32Array.of(1, 2, 3),
  idempotencyKey: "once",
  bodyHash: "same",
});

/** A purse that tells how often it was opened, and the tokens of those that have not got theirs back. */
function counting() {
  const purse = {
    took: 0,
    paid: [] as number[],
    at: (admission: Admission) => (job: Demand) => new Places(admission, purse.pay, 1).next(0, job),
    pay: (spendings: readonly { readonly tokens: number }[]) =>
      spendings.map(({ tokens }) => {
        purse.took++;
        purse.paid.push(tokens);
        return () => void purse.paid.splice(purse.paid.indexOf(tokens), 1);
      }),
  };
  return purse;
}

test("requests with one key that come at once are one job, paid for once, though each drew a seed", async () => {
  const bus = openBus({ url: "memory:" });
  const purse = counting();
  const come = (seed: bigint) => {
    const own = deps(bus);
    return submit(own, { ...keyed(seed), enter: purse.at(own.admission) });
  };
  const ids = (await Promise.all([1n, 2n, 3n, 4n].map(come))).map(({ jobId }) => jobId);
  expect(new Set(ids).size).toBe(1);
  expect(purse.paid).toHaveLength(1);
  expect((await bus.log.read(ids[0]!)).map(({ event }) => event.type)).toEqual(["submitted"]);
  const theirs = await submit(deps(bus), { ...keyed(5n), tenant: "another", bodyHash: "other" });
  expect([theirs.created, ids.includes(theirs.jobId)]).toEqual([true, false]);
});

test("a job that two requests make at once waits in the lane that its log names, and is noted there", async () => {
  const bus = openBus({ url: "memory:" });
  const come = (lane: Lane) => submit(deps(bus), { ...keyed(1n), enter: async () => ({ lane, queued: () => {}, giveBack: () => {} }) });
  const [{ jobId }] = await Promise.all([come("surplus"), come("interactive")]);
  const { request } = (await bus.log.first(jobId))!.event as { request: JobRequest };
  expect((await bus.queue.messages("prefill")).map(({ lane }) => lane)).toEqual([request.lane]);
  const [noted] = await bus.registry.jobs(10);
  expect(JSON.parse(noted!.text)).toMatchObject({ lane: request.lane });
});

test("a request that was refused before made no job: whoever comes again with its key makes it, and answers for its readers", async () => {
  const bus = openBus({ url: "memory:" });
  const full = {
    ...deps(bus),
    admission: new Admission(bus, systemClock, job.model, { queueJobsMax: 0, backlogTokensMax: 1, shareMs: 10_000 }),
  };
  await expect(submit(full, keyed(1n))).rejects.toMatchObject({ code: "OVERLOADED" });
  const created = [(await submit(deps(bus), keyed(2n))).created, (await submit(deps(bus), keyed(3n))).created];
  expect(created).toEqual([true, false]);
});

test.each([
  ["default", 10],
  ["t", 5],
])("of jobs of tenant %s that come at once no more are let in than of those that come one by one", async (tenant, room) => {
  const one = deps(openBus({ url: "memory:" }));
  const come = (_: unknown, i: number) => submit(one, { ...keyed(1n), tenant, idempotencyKey: null, jobId: `job_${i}` });
  const ends = await Promise.allSettled(Array.from({ length: 20 }, come));
  expect(ends.filter(({ status }) => status === "fulfilled")).toHaveLength(room);
});

test.each(["remembered its key", "wrote it into the log"])(
  "a replica that died once it had %s loses nothing: the same key ends what it began",
  async (when) => {
    const bus = openBus({ url: "memory:" });
    const dying = () => Promise.reject(new Error("died"));
    const crashed: Bus =
      when === "remembered its key"
        ? { ...bus, log: overriding(bus.log, { submit: dying }) }
        : { ...bus, queue: { ...bus.queue, publish: dying, messages: async () => [] } };
    await expect(submit(deps(crashed), keyed(1n))).rejects.toThrow("died");
    const { jobId } = await submit(deps(bus), keyed(2n));
    const message = await bus.queue.pull("prefill", job.model, 1_000, never);
    expect(message?.item.jobId).toBe(jobId);
  },
);

test("who is refused for want of room pays nothing, however often he asks; who has paid is let in once", async () => {
  const bus = openBus({ url: "memory:" });
  const purse = counting();
  const full = {
    ...deps(bus),
    admission: new Admission(bus, systemClock, job.model, { queueJobsMax: 0, backlogTokensMax: 10_000, shareMs: 10_000 }),
  };
  const come = (to: typeof full) => submit(to, { ...keyed(1n), request: { ...job, maxTokens: 7 }, enter: purse.at(to.admission) });
  for (let tries = 0; tries < 3; tries++) await expect(come(full)).rejects.toMatchObject({ code: "OVERLOADED" });
  expect(purse.took).toBe(0);
  await come(deps(bus));
  await come(deps(bus));
  expect([purse.took, purse.paid]).toEqual([1, [10]]);
});

const fails = async () => {
  throw new ServingError("OVERLOADED", "there is no room");
};
test.each<[string, (bus: Bus) => Bus, alone: number, shared: number]>([
  ["payloads", (bus) => ({ ...bus, payloads: overriding(bus.payloads, { put: fails }) }), 0, 0],
  ["log", (bus) => ({ ...bus, log: overriding(bus.log, { submit: fails }) }), 0, 0],
  ["queue, where the same key finds the job again,", (bus) => ({ ...bus, queue: overriding(bus.queue, { publish: fails }) }), 0, 1],
])("whom the %s refuses has his tokens back, however often he asks", async (_, crowded, alone, shared) => {
  for (const [idempotencyKey, left] of [
    [null, alone],
    ["once", shared],
  ] as const) {
    const bus = crowded(openBus({ url: "memory:" }));
    const purse = counting();
    const admission = new Admission(bus, systemClock, job.model, { queueJobsMax: 10, backlogTokensMax: 100_000, shareMs: 10_000 });
    const submission = { ...keyed(1n), ids: new Int32Array(16_385), idempotencyKey, enter: purse.at(admission) };
    for (let tries = 0; tries < 3; tries++)
      await expect(submit({ ...deps(bus), admission }, submission)).rejects.toMatchObject({ code: "OVERLOADED" });
    expect([purse.took > 0, purse.paid.length]).toEqual([true, left]);
  }
});

test("a job of an id of its own that the queue had no room for goes on when it is submitted again", async () => {
  const bus = openBus({ url: "memory:" });
  const full = () => Promise.reject(new ServingError("OVERLOADED", "the queue is full"));
  const line: Submission = { ...keyed(1n), idempotencyKey: null, jobId: "job_line" };
  await expect(submit(deps({ ...bus, queue: overriding(bus.queue, { publish: full }) }), line)).rejects.toThrow("the queue is full");
  await submit(deps(bus), line);
  expect((await bus.queue.pull("prefill", job.model, 1_000, never))?.item.jobId).toBe("job_line");
  expect((await bus.log.read("job_line")).map(({ event }) => event.type)).toEqual(["submitted"]);
});

test.each([
  ["stays where its id is not of one request alone", keyed(1n), true],
  ["goes where nobody else can come for it", { ...keyed(1n), idempotencyKey: null }, false],
])("what is kept of a job that the log has no room for %s", async (_, submission, stays) => {
  const bus = openBus({ url: "memory:" });
  const keys: string[] = [];
  const put = (key: string, bytes: Uint8Array) => {
    keys.push(key);
    return bus.payloads.put(key, bytes);
  };
  const full = () => Promise.reject(new ServingError("OVERLOADED", "the log is full"));
  const crowded = { ...bus, log: overriding(bus.log, { submit: full }), payloads: overriding(bus.payloads, { put }) };
  await expect(submit(deps(crowded), { ...submission, ids: new Int32Array(16_385) })).rejects.toThrow("the log is full");
  expect(keys).toHaveLength(1);
  expect((await bus.payloads.get(keys[0]!)) !== null).toBe(stays);
  expect((await bus.registry.jobs(2)).map(({ jobId }) => jobId)).toEqual(stays ? keys : []);
});

test("when its answer will begin is not known while the record is away, and a job that was just taken is not refused for it", async () => {
  const bus = openBus({ url: "memory:" });
  const away = () => Promise.reject(new ServingError("UNAVAILABLE", "NATS does not answer"));
  const { admission } = deps({ ...bus, queue: overriding(bus.queue, { messages: away }) });
  expect(await admission.estimate({ lane: "interactive", promptTokens: 5 })).toBeNull();
});
