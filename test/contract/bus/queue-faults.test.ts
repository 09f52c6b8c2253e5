import { rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "nats";
import { expect, test } from "vitest";
import { depth, never } from "../../support/bus.ts";
import { ownServer } from "../../support/own-server.ts";

const own = ownServer();
const { ready } = own;

test("what was acked just before close is gone for the next process", async () => {
  const bus = await ready();
  for (let i = 0; i < 20; i++) await bus.queue.publish("prefill", "m", "batch", { jobId: `job${i}`, follows: 1, promptTokens: 1 });
  for (let i = 0; i < 20; i++) (await bus.queue.pull("prefill", "m", 10_000, never))?.ack();
  await bus.close();
  const next = await ready();
  await expect.poll(() => depth(next, "prefill", "m")).toBe(0);
  expect(await bus.queue.pull("prefill", "m", 1_000, never)).toBeNull();
  await expect(bus.ready(100)).rejects.toMatchObject({ code: "UNAVAILABLE" });
});

test("a message that comes when its poll has given up goes to who asks next", async () => {
  const bus = await ready({ tryMs: 300, ackWaitMs: 60_000 });
  expect(await bus.queue.poll("prefill", "m", "interactive")).toBeNull();
  await bus.queue.publish("prefill", "m", "interactive", { jobId: "job", promptTokens: 1 });
  await own.server.freeze();
  expect(await bus.queue.poll("prefill", "m", "interactive")).toBeNull();
  own.server.thaw();
  expect((await bus.queue.pull("prefill", "m", 20_000, never))?.item.jobId).toBe("job");
});

test("a message outlives its job's log nowhere: what a killed server kept for nobody leaves the queue", async () => {
  const bus = await ready({ logMaxAgeMs: 500 });
  await bus.queue.publish("prefill", "model", "interactive", { jobId: "job", promptTokens: 1 });
  for (const endMs = Date.now() + 10_000; (await depth(bus, "prefill", "model")) > 0; await sleep(20)) {
    expect(Date.now()).toBeLessThan(endMs);
  }
});

test("a consumer that somebody deleted is made again, whether or not a request waits there", async () => {
  const bus = await ready({ tryMs: 200 });
  const nats = await connect({ servers: own.server.url });
  const manager = await nats.jetstreamManager();
  const remove = async () => {
    for await (const { name, stream_name } of manager.consumers.list("LONGSHORE_PREFILL"))
      await manager.consumers.delete(stream_name, name);
  };
  for (const waits of [true, false]) {
    expect(await bus.queue.pull("prefill", "m", 50, never)).toBeNull();
    const early = waits ? bus.queue.pull("prefill", "m", 20_000, never) : null;
    await remove();
    const pulled = early ?? bus.queue.pull("prefill", "m", 20_000, never);
    await bus.queue.publish("prefill", "m", "interactive", { jobId: `job ${waits}`, promptTokens: 3 });
    const message = await pulled;
    expect(message?.item.jobId).toBe(`job ${waits}`);
    message?.ack();
  }
  await nats.close();
});

test("a consumer that lost its folder on the server's disk is made anew, by whoever asks first", async () => {
  const before = await ready();
  await before.queue.publish("prefill", "m", "interactive", { jobId: "job", promptTokens: 1 });
  expect((await before.queue.pull("prefill", "m", 10_000, never))?.item.jobId).toBe("job");
  rmSync(join(own.server.directory, "store/jetstream/$G/streams/LONGSHORE_PREFILL/obs/m-interactive"), { recursive: true });
  const [one, other] = [await ready(), await ready()]; // processes that do not know the consumer yet
  const pulled = [one, other].map((bus) => bus.queue.pull("prefill", "m", 10_000, never));
  expect((await Promise.race(pulled))?.item.jobId).toBe("job");
  await Promise.all([one.close(), other.close()]);
  await Promise.all(pulled);
});
