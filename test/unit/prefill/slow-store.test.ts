import { afterEach, beforeEach, expect, test } from "vitest";
import { alone } from "../../support/alone.ts";
import { promptIds } from "../../support/model.ts";
import { overriding } from "../../support/overriding.ts";
import { VirtualClock } from "../../support/virtual-clock.ts";
import { memoryStore, requestOf, type TestCluster, testCluster } from "../../support/workers.ts";

let clock: VirtualClock;
let cluster: TestCluster;
beforeEach(() => {
  clock = new VirtualClock();
});
afterEach(() => cluster.close());

test("segments that take their time on the way to the store keep the claim of their job", async () => {
  const fast = memoryStore(clock);
  const put: typeof fast.put = async (...value) => {
    await clock.sleep(400);
    return await fast.put(...value);
  };
  cluster = testCluster({ clock, store: overriding(fast, { put }) });
  const slow = { engine: { chunkTokens: 512 }, settings: { uploadsMax: 1, boundaryTokens: 1_024 } };
  for (let i = 0; i < 2; i++) cluster.start("prefill", slow);
  cluster.start("decode");
  const request = { prompt: { ids: promptIds(1_000) }, maxTokens: 4 };
  const jobId = await cluster.submit(request);
  expect((await cluster.answer(jobId)).ids).toEqual((await alone(requestOf(request))).ids);
  const claims = (await cluster.events(jobId)).filter(({ event, phase }) => event.type === "claimed" && phase === "prefill");
  expect(claims).toHaveLength(1);
});

test("a worker told to stop fetches nothing more for the jobs it hands back", async () => {
  const store = memoryStore(clock);
  let gets = 0;
  let gate = Promise.resolve();
  let open = () => {};
  const get: typeof store.get = async (...value) => {
    gets++;
    await gate;
    return await store.get(...value);
  };
  cluster = testCluster({ clock, store: overriding(store, { get }) });
  const prompt = promptIds(2_000);
  const first = cluster.start("prefill");
  await cluster.until(await cluster.submit({ prompt: { ids: prompt } }), ({ event }) => event.type === "handed_over");
  await first.drain();
  gets = 0;
  gate = new Promise((resolve) => {
    open = resolve;
  });
  const second = cluster.start("prefill");
  const jobId = await cluster.submit({ prompt: { ids: prompt } });
  await cluster.when(() => gets > 0);
  const drained = second.drain();
  const asked = gets;
  open();
  await drained;
  expect(gets).toBe(asked);
  expect((await cluster.bus.log.last(jobId))?.event).toMatchObject({ type: "released", excused: true });
  expect(second.engine.held).toEqual({ sequences: 0, memories: 0 });
});
