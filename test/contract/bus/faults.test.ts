import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "nats";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import { Connection } from "../../../services/shared/bus/nats/connection.ts";
import { ensureStream } from "../../../services/shared/bus/nats/layout.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import type { BusOptions } from "../../../services/shared/bus/settings.ts";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import { systemRandom } from "../../../services/shared/runtime/random.ts";
import { collect, depth, faultsOf, finished, held, never, request, submitAndClaim, takeOver, tokens } from "../../support/bus.ts";
import { NatsServer } from "../../support/nats.ts";
import { LossyProxy } from "../../support/proxy.ts";

const MIB = 1_048_576;

let server: NatsServer;
let proxy: LossyProxy;
let opened: Bus[];

beforeEach(async () => {
  opened = [];
  server = await NatsServer.start();
  proxy = await LossyProxy.start(server.port);
});
afterEach(async () => {
  server.thaw();
  for (const bus of opened) await bus.close();
  await proxy.stop();
  await server.stop();
});

function open(options: Partial<BusOptions> = {}): Bus {
  const bus = openBus({ url: server.url, logMaxBytes: 64 * MIB, payloadsMaxBytes: 64 * MIB, tryMs: 300, answerMs: 2_000, ...options });
  opened.push(bus);
  return bus;
}

async function ready(bus: Bus): Promise<Bus> {
  await bus.ready(10_000);
  return bus;
}

const throughProxy = (options: Partial<BusOptions> = {}) => ready(open({ url: `nats://127.0.0.1:${proxy.port}`, ...options }));

test("kill -9 of the server in the middle of appends loses no acknowledged event, and the same bus goes on", async () => {
  const bus = await ready(open());
  const reader = await ready(open());
  const claim = await submitAndClaim(bus, "job");
  const followed = collect(reader.log.follow("job", 0, never));
  const acknowledged: number[] = [];
  const writing = (async () => {
    for (let i = 0; i < 600; i++) acknowledged.push((await claim.append(tokens(i, i)))?.sequence ?? 0);
    await claim.append(finished);
  })();
  for (const at of [100, 200, 300]) {
    while (acknowledged.length < at) await sleep(1);
    await server.kill();
    await server.restart();
  }
  await writing;
  const records = await bus.log.read("job");
  expect(faultsOf(records)).toEqual([]);
  expect(records.slice(2, -1).map(({ sequence }) => sequence)).toEqual(acknowledged);
  expect(await followed).toEqual(records);
});

test("an append whose answer is lost is repeated and stored once", async () => {
  const bus = await throughProxy();
  const claim = await submitAndClaim(bus, "job");
  for (let i = 0; i < 5; i++) {
    const lost = proxy.swallow();
    const appended = claim.append(tokens(i, i));
    await lost;
    proxy.cut();
    expect((await appended)?.tokenCount).toBe(i + 1);
  }
  const records = await bus.log.read("job");
  expect(faultsOf(records)).toEqual([]);
  expect(records).toHaveLength(7);
});

test("an append whose answer is lost for longer than the dedupe window is recognised in the log", async () => {
  const bus = await throughProxy({ dedupeMs: 200 });
  const claim = await submitAndClaim(bus, "job");
  const lost = proxy.swallow();
  const appended = claim.append(tokens(0, 5));
  await lost;
  await sleep(500); // the window, not a condition, has to pass
  proxy.cut();
  const record = await appended;
  expect(record).toEqual((await bus.log.read("job")).at(-1));
  expect(await claim.append(tokens(1, 6))).not.toBeNull();
});

test("an append whose answer is lost until another worker took over ends in silence", async () => {
  const claimMs = 300;
  const bus = await throughProxy({ claimMs });
  const other = await ready(open({ claimMs }));
  const claim = await submitAndClaim(bus, "job");
  const lost = proxy.swallow();
  const appended = claim.append(tokens(0, 5));
  await lost;
  const successor = held(await takeOver(other, "job", "prefill", "second"));
  expect(successor.tokenCount).toBe(1);
  await successor.append(tokens(1, 6));
  proxy.cut();
  // Inside the dedupe window the server still vouches for the first append; the next one is refused.
  await appended;
  expect(await claim.append(tokens(1, 7))).toBeNull();
  expect(claim.lost).toBe(true);
  expect(faultsOf(await other.log.read("job"))).toEqual([]);
});

test("readers whose connection is cut again and again see every event once and in order", async () => {
  const bus = await ready(open());
  const reader = await throughProxy();
  const claim = await submitAndClaim(bus, "job");
  const followed = [0, 1].map((after) => collect(reader.log.follow("job", after, never)));
  for (let i = 0; i < 300; i++) {
    await claim.append(tokens(i, i));
    if (i % 50 === 25) proxy.cut();
  }
  await claim.append(finished);
  const records = await bus.log.read("job");
  for (const seen of await Promise.all(followed)) expect(seen.slice(-302)).toEqual(records.slice(-302));
});

test("a frozen server is UNAVAILABLE within the deadline; readers wait, and go on when it thaws", async () => {
  const bus = await ready(open());
  const claim = await submitAndClaim(bus, "job");
  const followed = collect(bus.log.follow("job", 0, never));
  await server.freeze();
  const startMs = performance.now();
  await expect(bus.log.submit("other", request())).rejects.toMatchObject({ code: "UNAVAILABLE" });
  await expect(bus.log.last("job")).rejects.toMatchObject({ code: "UNAVAILABLE" });
  expect(performance.now() - startMs).toBeLessThan(10_000);
  const appended = claim.append(finished);
  server.thaw();
  expect(await appended).not.toBeNull();
  expect((await followed).map(({ event }) => event.type)).toEqual(["submitted", "claimed", "finished"]);
});

test("a bus opened before its server says what is missing, and finds it when it comes", async () => {
  await server.kill();
  const bus = open();
  await expect(bus.ready(300)).rejects.toMatchObject({ code: "UNAVAILABLE", message: expect.stringContaining("LONGSHORE_NATS_URL") });
  expect(await bus.queue.pull("prefill", "m", 50, never)).toBeNull();
  const nudged = new Promise((resolve) => void bus.registry.onCancel(resolve, never));
  await server.restart();
  await bus.ready(10_000);
  await bus.log.submit("job", request());
  await bus.registry.markCancelled("job", "client");
  expect(await nudged).toBe("job");
});

test("a server that comes back empty is prepared again", async () => {
  const bus = await ready(open());
  await bus.log.submit("job", request());
  const pulled = bus.queue.pull("prefill", "m", 20_000, never);
  await sleep(100);
  await server.wipe();
  await server.restart();
  await bus.ready(10_000);
  expect(await bus.log.last("job")).toBeNull();
  await bus.log.submit("job", request());
  await bus.queue.publish("prefill", "m", "batch", { jobId: "job", epoch: 0, promptTokens: 3 });
  expect((await pulled)?.item.jobId).toBe("job");
});

test("a worker whose clock is minutes off neither takes over early nor late", async () => {
  const claimMs = 500;
  const bus = await ready(open({ claimMs }));
  await submitAndClaim(bus, "job");
  for (const skewMs of [600_000, -600_000]) {
    const clock = { ...systemClock, nowMs: () => Date.now() + skewMs };
    const skewed = await ready(open({ claimMs, clock }));
    expect((await skewed.log.claim("job", "prefill", "skewed")).kind).toBe("held");
    expect((await takeOver(skewed, "job", "prefill", "skewed")).kind).toBe("claimed");
  }
});

test("a setting the server drops without a word is noticed", async () => {
  const connection = new Connection(server.url, { tryMs: 1_000, clock: systemClock, random: systemRandom }, async () => {});
  try {
    await expect
      .poll(() =>
        connection.prepared().then(
          () => true,
          () => false,
        ),
      )
      .toBe(true);
    const config = { name: "X", subjects: ["x"], retention: "limits", storage: "file" };
    await ensureStream(connection, config);
    await expect(ensureStream(connection, { ...config, no_such_setting: true })).rejects.toThrow(
      "did not take no_such_setting of stream X",
    );
  } finally {
    await connection.close();
  }
});

test("changed settings reach streams that exist", async () => {
  await ready(open({ logMaxAgeMs: 3_600_000 }));
  const bus = await ready(open({ logMaxAgeMs: 7_200_000, queueMessagesMax: 1 }));
  await bus.queue.publish("prefill", "m", "batch", { jobId: "a", epoch: 0, promptTokens: 1 });
  await expect(bus.queue.publish("prefill", "m", "batch", { jobId: "b", epoch: 0, promptTokens: 1 })).rejects.toMatchObject({
    code: "OVERLOADED",
  });
});

test("what was acked just before close is gone for the next process", async () => {
  const bus = await ready(open());
  for (let i = 0; i < 20; i++) await bus.queue.publish("prefill", "m", "batch", { jobId: `job${i}`, epoch: 0, promptTokens: 1 });
  for (let i = 0; i < 20; i++) (await bus.queue.pull("prefill", "m", 1_000, never))?.ack();
  await bus.close();
  const next = await ready(open());
  await expect.poll(() => depth(next, "prefill", "m")).toBe(0);
  expect(await bus.queue.pull("prefill", "m", 1_000, never)).toBeNull();
  await expect(bus.ready(100)).rejects.toMatchObject({ code: "UNAVAILABLE" });
});

test("a message outlives its job's log nowhere: what a killed server kept for nobody leaves the queue", async () => {
  const bus = await ready(open({ logMaxAgeMs: 500 }));
  await bus.queue.publish("prefill", "model", "interactive", { jobId: "job", promptTokens: 1 });
  for (const endMs = Date.now() + 10_000; (await depth(bus, "prefill", "model")) > 0; await sleep(20)) {
    expect(Date.now()).toBeLessThan(endMs);
  }
});

test("a consumer that somebody deleted is made again, whether or not a request waits there", async () => {
  const bus = await ready(open({ tryMs: 200 }));
  const nats = await connect({ servers: server.url });
  const manager = await nats.jetstreamManager();
  const remove = async () => {
    for await (const { name, stream_name } of manager.consumers.list("LONGSHORE_PREFILL"))
      await manager.consumers.delete(stream_name, name);
  };
  for (const waits of [true, false]) {
    expect(await bus.queue.pull("prefill", "m", 50, never)).toBeNull();
    const early = waits ? bus.queue.pull("prefill", "m", 5_000, never) : null;
    await remove();
    const pulled = early ?? bus.queue.pull("prefill", "m", 5_000, never);
    await bus.queue.publish("prefill", "m", "interactive", { jobId: `job ${waits}`, promptTokens: 3 });
    const message = await pulled;
    expect(message?.item.jobId).toBe(`job ${waits}`);
    message?.ack();
  }
  await nats.close();
});

test("an ack given right before a process ends is not lost with it", async () => {
  const bus = await ready(open());
  await bus.queue.publish("prefill", "m", "interactive", { jobId: "job", promptTokens: 3 });
  const message = await bus.queue.pull("prefill", "m", 5_000, never);
  message?.ack();
  await bus.close();
  expect(await depth(await ready(open()), "prefill", "m")).toBe(0);
});
