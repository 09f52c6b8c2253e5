import { afterEach, expect, test } from "vitest";
import { Retries } from "../../../services/api/retries.ts";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { type Clock, systemClock } from "../../../services/shared/runtime/clock.ts";
import { playJob, type TestApi, testApi } from "../../support/api.ts";
import { request } from "../../support/bus.ts";
import { overriding } from "../../support/overriding.ts";

const GRACE_MS = 30_000;
let bus: Bus;
let here: TestApi;
let there: TestApi;
/** How to end each grace that began. */
let graces: (() => void)[];

/** Nothing is over because this process stood still: whoever shows himself is seen for a minute, and a grace ends when the test says so. */
async function open(beatLifeMs = 60_000): Promise<void> {
  graces = [];
  const sleep: Clock["sleep"] = (ms, signal) =>
    ms !== GRACE_MS
      ? systemClock.sleep(ms, signal)
      : new Promise((resolve, reject) => {
          graces.push(resolve);
          signal?.addEventListener("abort", () => reject(signal.reason));
        });
  bus = openBus({ url: "memory:", beatLifeMs });
  const replica = () => testApi({ graceMs: GRACE_MS, beatMs: 100 }, bus, overriding(systemClock, { sleep }));
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

test("what one tenant asked for is not given to another who sends the same", async () => {
  await open();
  await bus.log.submit("job", request());
  await bus.registry.noteJob("job", JSON.stringify({ tenant: "t", body: "digest", replica: "gone" }));
  const retries = new Retries(bus);
  expect([await retries.lost("another", "digest"), await retries.lost("t", "digest")]).toEqual([null, "job"]);
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
