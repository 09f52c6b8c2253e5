import { afterEach, expect, test } from "vitest";
import { leftBy, REPLICAS, readersOf } from "../../../services/api/beats.ts";
import { Retries } from "../../../services/api/jobs/retries.ts";
import { Replicas } from "../../../services/api/replicas.ts";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { type Clock, systemClock } from "../../../services/shared/runtime/clock.ts";
import { ServingError } from "../../../services/shared/runtime/errors.ts";
import { playJob, type TestApi, testApi } from "../../support/api.ts";
import { request } from "../../support/bus.ts";
import { overriding } from "../../support/overriding.ts";
import { counting } from "../../support/reconciler.ts";

const GRACE_MS = 30_000;
let bus: Bus;
let here: TestApi;
let there: TestApi;
/** How to end each grace that began. */
let graces: (() => void)[];

/** Nothing is over because this process stood still: whoever shows himself is seen for a minute, and a grace ends when the test says so. */
async function open(beatLifeMs = 60_000, graceMs = GRACE_MS, record: Bus = openBus({ url: "memory:", beatLifeMs })): Promise<void> {
  graces = [];
  const sleep: Clock["sleep"] = (ms, signal) =>
    ms !== GRACE_MS
      ? systemClock.sleep(ms, signal)
      : new Promise((resolve, reject) => {
          graces.push(resolve);
          signal?.addEventListener("abort", () => reject(signal.reason));
        });
  bus = record;
  const replica = () => testApi({ graceMs, beatMs: 100 }, bus, overriding(systemClock, { sleep }));
  [here, there] = [await replica(), await replica()];
}
/** Ends the grace of the job that was left, and waits until its replica has looked and gives it another. */
async function passGrace(): Promise<void> {
  await expect.poll(() => graces.length, { timeout: 20_000 }).toBe(1);
  graces[0]!();
  await expect.poll(() => graces.length, { timeout: 20_000 }).toBe(2);
}
afterEach(() => Promise.all([here.close(), there.close()]));

const chat = (text = "Where is red-fox?") => ({ model: "yardlog", messages: [{ role: "user", content: text }], stream: true });

/** The job that answers, and how to leave it or read on. */
async function ask(api: TestApi, headers: Record<string, string> = {}, body: object = chat()) {
  const leaving = new AbortController();
  const response = await fetch(`${api.url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
    signal: leaving.signal,
  });
  return { jobId: response.headers.get("x-job-id"), leave: () => leaving.abort(), text: () => response.text() };
}
const retry = { "x-stainless-retry-count": "1" };
const left = (jobId: string | null) =>
  expect.poll(async () => (await bus.registry.beats(`left.${jobId}`)).size, { timeout: 20_000 }).toBe(1);

test("a request sent again joins the job that lost its reader, on any replica, and is answered from the beginning", async () => {
  await open();
  const first = await ask(here);
  first.leave();
  await left(first.jobId);
  const again = await ask(there, retry);
  expect(again.jobId).toBe(first.jobId);
  await passGrace(); // somebody reads
  const ids = [...(await here.tokenizer.encode("Bay 42."))];
  await playJob(bus, "yardlog", { ids });
  expect(await again.text()).toMatch(/"role":"assistant".*\[DONE\]/s);
});

test("whoever joined his job and lost it again joins it again, also at the replica that took it", async () => {
  await open();
  const first = await ask(here);
  first.leave();
  await left(first.jobId);
  for (const api of [here, there, here]) {
    const again = await ask(api, retry);
    expect(again.jobId).toBe(first.jobId);
    again.leave();
    await expect.poll(async () => (await bus.registry.beats(readersOf(first.jobId!))).size, { timeout: 20_000 }).toBe(0);
    await left(first.jobId);
  }
});

test("no other equal request is merged: without the mark, with a reader, another body, or once it is cancelled", async () => {
  await open();
  const first = await ask(here);
  expect((await ask(there)).jobId).not.toBe(first.jobId);
  const second = await ask(here);
  expect((await ask(there, retry)).jobId, "its reader is there").not.toBe(second.jobId);
  const third = await ask(here, {}, chat("another"));
  third.leave();
  await left(third.jobId);
  expect((await ask(there, retry, chat("yet another"))).jobId).not.toBe(third.jobId);
  await bus.log.appendAfter((await bus.log.last(third.jobId!))!, { type: "cancelled", by: "the test" });
  expect((await ask(there, retry, chat("another"))).jobId).not.toBe(third.jobId);
});

test.each(["has not come", "is whole"])("the readers of a replica that is gone are lost too, where the answer %s", async (when) => {
  await open(400);
  const first = await ask(here);
  await here.close();
  await expect.poll(async () => (await bus.registry.beats("api")).size, { timeout: 20_000 }).toBe(1);
  if (when === "is whole") await playJob(bus, "yardlog", { ids: [...(await there.tokenizer.encode("Bay 42."))] });
  expect((await ask(there, retry)).jobId).toBe(first.jobId);
});

test("an answer that has been whole for the grace was read, or is not waited for: the same request is a new one", async () => {
  await open(60_000, 300);
  const first = await ask(here);
  await playJob(bus, "yardlog", { ids: [...(await here.tokenizer.encode("Bay 42."))] });
  await first.text();
  await here.close();
  const whole = (await bus.log.lastStored(first.jobId!))!;
  await expect.poll(async () => (await bus.log.nowMs()) - whole.storedMs).toBeGreaterThan(300);
  expect((await ask(there, retry)).jobId).not.toBe(first.jobId);
});

test("each of several equal jobs that lost their readers is joined by one retry, and the next one is a new job", async () => {
  await open();
  const asked = await Promise.all(Array.from({ length: 4 }, () => ask(here)));
  await here.close();
  const again = await Promise.all(Array.from({ length: 5 }, () => ask(there, retry)));
  const ids = again.map(({ jobId }) => jobId);
  expect(new Set(ids).size).toBe(5);
  expect(ids).toEqual(expect.arrayContaining(asked.map(({ jobId }) => jobId)));
});

test("an answer that a retry read to its end is not given to the next one", async () => {
  await open();
  const asked = [await ask(here), await ask(here)];
  await here.close();
  const texts = ["Bay 42.", "Bay 17."];
  for (const text of texts) await playJob(bus, "yardlog", { ids: [...(await there.tokenizer.encode(text))] });
  const again = [];
  for (let i = 0; i < 2; i++) {
    const joined = await ask(there, retry);
    await joined.text();
    again.push(joined.jobId);
    await expect.poll(() => bus.registry.recall(`answer of ${joined.jobId}`)).toBe("");
  }
  expect(again.sort()).toEqual(asked.map(({ jobId }) => jobId).sort());
  expect(again).not.toContain((await ask(there, retry)).jobId);
});

/** A replica that has no sockets, and what another left in the record. */
function retriesOf(replica: string, on = bus): Retries {
  return new Retries({ bus: on, graceMs: GRACE_MS, replica, replicas: new Replicas({ bus: on, clock: systemClock, beatMs: 50, replica }) });
}
/** Replicas that live until the result is called. */
function showing(...replicas: readonly string[]): () => Promise<unknown> {
  const stop = new AbortController();
  const lives = replicas.map((replica) => new Replicas({ bus, clock: systemClock, beatMs: 50, replica }).show(stop.signal));
  return () => {
    stop.abort(new Error("the end"));
    return Promise.all(lives);
  };
}
async function taken(jobId: string, replica: string): Promise<void> {
  await bus.log.submit(jobId, request());
  await bus.registry.noteJob(jobId, JSON.stringify({ tenant: "t", body: "digest", replica }));
}

test("what one tenant asked for is not given to another who sends the same", async () => {
  await open();
  const retries = retriesOf("here");
  await taken("job", "gone");
  expect([await retries.join("another", "digest"), await retries.join("t", "digest")]).toEqual([null, "job"]);
});

test("a retry that comes before a killed replica counts as gone waits for that", async () => {
  await open(250);
  await bus.registry.beat(REPLICAS, "killed", "1");
  await taken("job", "killed");
  expect(await retriesOf("here").join("t", "digest")).toBe("job");
});

test("a job whose replica lives is not joined, nor one that a replica reads which lives; one whose reader died with his is", async () => {
  await open();
  const end = showing("alive");
  await taken("job", "alive");
  expect(await retriesOf("here").join("t", "digest")).toBe(null);
  await taken("left", "gone");
  await bus.registry.beat(readersOf("left"), "alive", "");
  expect(await retriesOf("here").join("t", "digest")).toBe(null);
  await bus.registry.retire(readersOf("left"), "alive");
  await bus.registry.beat(readersOf("left"), "killed", "");
  expect(await retriesOf("here").join("t", "digest")).toBe("left");
  await end();
});

test("the replicas of all equal jobs are waited for together, and none where one job is certain to be lost", async () => {
  await open();
  for (let i = 0; i < 5; i++) await taken(`job${i}`, `replica${i}`);
  const asked: string[] = [];
  const isGone = (replica: string) => {
    asked.push(replica);
    return new Promise<boolean>((resolve) => asked.length === 5 && resolve(replica === "replica4"));
  };
  const retries = new Retries({ bus, graceMs: GRACE_MS, replica: "here", replicas: { isGone } });
  void retries.join("t", "digest");
  await expect.poll(() => asked.length).toBe(5);
  await bus.registry.beat(leftBy("job2"), "replica2", "");
  expect(await retries.join("t", "digest")).toBe("job2");
  expect(asked).toHaveLength(5);
});

test("retries that come at once hear of the jobs that there are once", async () => {
  await open();
  await taken("job", "gone");
  const asked: string[] = [];
  const retries = retriesOf("here", { ...bus, registry: counting(bus.registry, asked) });
  const joined = await Promise.all(Array.from({ length: 20 }, () => retries.join("t", "digest")));
  expect(joined.filter((jobId) => jobId === "job")).toHaveLength(1);
  expect(asked.filter((name) => name === "jobs")).toHaveLength(1);
});

test("a job that was taken behind the restart of an emptied record is found, at a place where others were heard before", async () => {
  await open();
  const emptied = openBus({ url: "memory:", beatLifeMs: 60_000 });
  let record = bus;
  const on: Bus = {
    ...bus,
    get log() {
      return record.log;
    },
    get registry() {
      return record.registry;
    },
  };
  const retries = retriesOf("here", on);
  for (const jobId of ["one", "two", "three"]) await taken(jobId, "gone");
  expect(await retries.join("t", "digest")).toBe("three");
  record = bus = emptied;
  await taken("job", "gone");
  expect(await retries.join("t", "digest")).toBe("job");
  for (const jobId of ["four", "five", "six"]) await taken(jobId, "gone");
  expect(await retries.join("t", "digest")).toBe("six");
});

test("of two replicas that retries of one job reach at once, one at most has it", async () => {
  await open();
  const end = showing("a", "b");
  const both = [retriesOf("a"), retriesOf("b")];
  await taken("job", "gone");
  const joined = await Promise.all(both.map((retries) => retries.join("t", "digest")));
  expect(joined.filter((jobId) => jobId === "job").length).toBeLessThanOrEqual(1);
  await end();
});

test("a job that one replica refused and another made for the same key is left to its reader, whoever of both ends or looks", async () => {
  let full = true;
  const record = openBus({ url: "memory:", beatLifeMs: 60_000 });
  const submit: Bus["log"]["submit"] = (...job) => {
    if (!full) return record.log.submit(...job);
    full = false;
    throw new ServingError("UNAVAILABLE", "the record is away");
  };
  await open(60_000, GRACE_MS, { ...record, log: overriding(record.log, { submit }) });
  const key = { "idempotency-key": "once" };
  expect((await ask(here, key)).jobId).toBe(null);
  const made = await ask(there, key);
  await passGrace(); // of whoever refused it
  expect((await bus.log.last(made.jobId!))?.event.type).toBe("submitted");
  expect([...(await bus.registry.beats(readersOf(made.jobId!))).keys()]).toHaveLength(1);
  made.leave();
});

test("a reader who joined by his key on another replica keeps the job when the first one leaves", async () => {
  await open();
  const key = { "idempotency-key": "once" };
  const first = await ask(here, key);
  const joined = await ask(there, key);
  expect(joined.jobId).toBe(first.jobId);
  first.leave();
  await passGrace();
  expect((await bus.log.last(first.jobId!))?.event.type).toBe("submitted");
  joined.leave();
});
