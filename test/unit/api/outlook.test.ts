import { afterAll, beforeAll, expect, test } from "vitest";
import { Outlook } from "../../../services/api/jobs/outlook.ts";
import { parseEvents } from "../../../services/cli/server-events.ts";
import { type TestApi, testApi } from "../../support/api.ts";
import { handedOver, held, usage } from "../../support/bus.ts";
import { VirtualClock } from "../../support/virtual-clock.ts";

let api: TestApi;
beforeAll(async () => {
  api = await testApi({ heartbeatMs: 100 });
});
afterAll(() => api.close());

test("the time left is the queue's until a worker reads, then that of its pace, and goes down by itself", async () => {
  const clock = new VirtualClock();
  const outlook = new Outlook(clock, 60);
  const pass = (ms: number) => clock.run(clock.sleep(ms));
  await pass(10_000);
  expect(outlook.now()).toEqual({ status: "queued", done: 0, total: null, eta_seconds: 50 });
  outlook.read({ done: 0, total: 1_000 });
  expect(outlook.now()).toEqual({ status: "prefill", done: 0, total: 1_000, eta_seconds: null });
  await pass(5_000);
  outlook.read({ done: 250, total: 1_000 });
  expect(outlook.now().eta_seconds).toBe(15);
  await pass(5_000);
  expect(outlook.now().eta_seconds).toBe(10);
  outlook.read({ done: 100, total: 1_000 });
  expect(outlook.now().eta_seconds, "another worker took over").toBeNull();
  outlook.begin();
  expect(outlook.now()).toMatchObject({ status: "decode", eta_seconds: 0 });
});

test("a stream that asks for it tells progress by name, in the queue by the clock too; without, nothing is named", async () => {
  const prompt = [7, 8, 9];
  const submitted = await fetch(`${api.url}/v1/jobs`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ kind: "completion", request: { model: "yardlog", prompt, max_tokens: 5 } }),
  });
  const job = (await submitted.json()) as { id: string; eta_seconds: number | null };
  expect(job.eta_seconds).toBeNull();
  const read = async (query: string, until: (names: string[]) => void) => {
    const response = await fetch(`${api.url}/v1/jobs/${job.id}/stream${query}`);
    const told: { name: string; data: string }[] = [];
    for await (const event of parseEvents(response.body!.pipeThrough(new TextDecoderStream()))) {
      told.push(event);
      until(told.map(({ name }) => name));
    }
    return told;
  };
  let waited = () => {};
  const queued = new Promise<void>((resolve) => {
    waited = resolve;
  });
  const asked = read("?progress=1", (names) => names.filter((name) => name === "progress").length >= 3 && waited());
  const plain = read("", () => {});
  await queued;
  const { bus } = api;
  const prefill = held(await bus.log.claim(job.id, "prefill", "w"));
  await prefill.append({ type: "progress", done: 1, total: 3, stored: 0, cached: 0 });
  await prefill.append({ ...handedOver, token: (await api.tokenizer.encode("Bay"))[0]! });
  await held(await bus.log.claim(job.id, "decode", "w")).append({ type: "finished", reason: "length", usage });
  const progress = (await asked).filter(({ name }) => name === "progress").map(({ data }) => JSON.parse(data) as object);
  expect(progress[0]).toEqual({ status: "queued", done: 0, total: null, eta_seconds: null });
  expect(progress).toContainEqual({ status: "prefill", done: 1, total: 3, eta_seconds: null });
  expect(new Set((await plain).map(({ name }) => name))).toEqual(new Set(["message"]));
});
