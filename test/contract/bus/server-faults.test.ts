import { setTimeout as sleep } from "node:timers/promises";
import { connect, type JetStreamManager, type StreamConfig } from "nats";
import { expect, test } from "vitest";
import { Connection } from "../../../services/shared/bus/nats/connection.ts";
import { ensureStream } from "../../../services/shared/bus/nats/ensure-stream.ts";
import type { BusOptions } from "../../../services/shared/bus/settings.ts";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import { systemRandom } from "../../../services/shared/runtime/random.ts";
import { collect, depth, finished, never, request, submitAndClaim } from "../../support/bus.ts";
import { losesNothing } from "../../support/loses-nothing.ts";
import { ownServer } from "../../support/own-server.ts";

const own = ownServer();
const { open, ready } = own;

test("kill -9 of the server in the middle of appends loses no acknowledged event, and the same bus goes on", async () => {
  await losesNothing(await ready(), await ready(), async (acknowledged) => {
    for (const at of [100, 200, 300]) {
      while (acknowledged.length < at) await sleep(1);
      await own.server.kill();
      await own.server.restart();
    }
  });
});

test("a frozen server is UNAVAILABLE within the deadline; readers wait, and go on when it thaws", async () => {
  const bus = await ready();
  const claim = await submitAndClaim(bus, "job");
  const followed = collect(bus.log.follow("job", 0, never));
  await own.server.freeze();
  const startMs = performance.now();
  await expect(bus.log.submit("other", request())).rejects.toMatchObject({ code: "UNAVAILABLE" });
  await expect(bus.log.last("job")).rejects.toMatchObject({ code: "UNAVAILABLE" });
  expect(performance.now() - startMs).toBeLessThan(10_000);
  const appended = claim.append(finished);
  own.server.thaw();
  expect(await appended).not.toBeNull();
  expect((await followed).map(({ event }) => event.type)).toEqual(["submitted", "claimed", "finished"]);
});

test("a bus opened before its server says what is missing, and finds it when it comes", async () => {
  await own.server.kill();
  const bus = open();
  await expect(bus.ready(300)).rejects.toMatchObject({ code: "UNAVAILABLE", message: expect.stringContaining("LONGSHORE_NATS_URL") });
  await expect(bus.queue.pull("prefill", "m", 50, never)).rejects.toMatchObject({ code: "UNAVAILABLE" });
  const nudged = new Promise((resolve) => void bus.registry.onCancel(resolve, never));
  await own.server.restart();
  await bus.ready(60_000);
  await bus.log.submit("job", request());
  await bus.registry.markCancelled("job", "client");
  expect(await nudged).toBe("job");
});

test("a server that comes back empty is prepared again", async () => {
  const bus = await ready();
  await bus.log.submit("job", request());
  const pulled = bus.queue.pull("prefill", "m", 20_000, never);
  await sleep(100);
  await own.server.wipe();
  await own.server.restart();
  await bus.ready(60_000);
  expect(await bus.log.last("job")).toBeNull();
  await bus.log.submit("job", request());
  await bus.queue.publish("prefill", "m", "batch", { jobId: "job", follows: 1, promptTokens: 3 });
  expect((await pulled)?.item.jobId).toBe("job");
});

test("a setting the server drops without a word is noticed", async () => {
  const connection = new Connection(own.server.url, { tryMs: 1_000, clock: systemClock, random: systemRandom }, async () => {});
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
    await ensureStream(connection, { config, from: {} });
    await expect(ensureStream(connection, { config: { ...config, no_such_setting: true }, from: {} })).rejects.toThrow(
      "ignored no_such_setting of stream X",
    );
  } finally {
    await connection.close();
  }
});

test("what the server refuses, however often it is asked, is said at once and in its words", async () => {
  const refusal = (options: Partial<BusOptions>) =>
    open(options)
      .ready(600_000)
      .catch((error: unknown) => error); // longer than the test may take
  expect(await refusal({ replicas: 3 })).toMatchObject({
    code: "INVALID_REQUEST",
    message: expect.stringMatching(/^nats-server refuses stream LONGSHORE_LOG: replicas > 1 not supported .*LONGSHORE_NATS_REPLICAS/),
  });
  expect(await refusal({ logMaxAgeMs: 1e16 })).toMatchObject({
    code: "INVALID_REQUEST",
    message: expect.stringMatching(/^nats-server refuses stream LONGSHORE_LOG: invalid JSON/),
  });
  await withHand(({ streams }) => streams.add({ name: "OTHER", subjects: ["taken.log.*"] }));
  expect(await refusal({ prefix: "taken" })).toMatchObject({
    code: "INVALID_REQUEST",
    message: expect.stringContaining("LONGSHORE_NATS_PREFIX"),
  });
});

test("a process that was prepared once waits for the operator where its server comes to refuse it", async () => {
  const bus = await ready({ prefix: "taken" });
  await withHand(async ({ streams }) => {
    await streams.delete("TAKEN_LOG");
    await streams.add({ name: "OTHER", subjects: ["taken.log.*"] });
  });
  await own.server.kill();
  await own.server.restart();
  const refusal = () => bus.ready(100).catch((error: unknown) => error);
  const waiting = { code: "UNAVAILABLE", message: expect.stringContaining("LONGSHORE_NATS_PREFIX") };
  await expect.poll(refusal, { timeout: 60_000 }).toMatchObject(waiting);
  await withHand(({ streams }) => streams.delete("OTHER"));
  await bus.ready(60_000);
});

test("a process with smaller settings leaves what others keep, in number, size and age, and is told what stays", async () => {
  const bus = await ready({ logMaxBytes: 2_097_152, logMaxAgeMs: 7_200_000, queueMessagesMax: 2 });
  const large = request({ prompt: { ids: new Int32Array(200_000).fill(1) } });
  for (const jobId of ["first", "second", "third", "fourth", "fifth", "sixth"]) await bus.log.submit(jobId, large);
  for (const jobId of ["a", "b"]) await bus.queue.publish("prefill", "m", "batch", { jobId, promptTokens: 1 });
  const before = await configs();
  const told: string[] = [];
  await ready({ logMaxBytes: 1_048_576, logMaxAgeMs: 1, queueMessagesMax: 1, onKept: (lines) => void told.push(...lines) });
  expect(await configs()).toEqual(before);
  expect((await bus.log.first("first"))?.event.type).toBe("submitted");
  expect(await depth(bus, "prefill", "m")).toBe(2);
  expect(told).toContain("LONGSHORE_LOG: max_age 7200 s, LONGSHORE_LOG_MAX_AGE_SECONDS asks for 0.001 s");
  expect(told).toContain("LONGSHORE_LOG: max_bytes 2097152, LONGSHORE_LOG_MAX_BYTES asks for 1048576");
  expect(told).toContain("LONGSHORE_PREFILL: max_msgs 2, LONGSHORE_QUEUE_JOBS_MAX asks for 1");
});

test("what is lowered by hand stays so for processes that ask for no more, and nobody is told anything", async () => {
  await ready({ logMaxAgeMs: 7_200_000 });
  await withHand(async ({ streams }) => {
    for (const { config } of await streams.list().next())
      if (config.max_age === 7_200e9) await streams.update(config.name, { ...config, max_age: 3_600e9 });
  });
  const before = await configs();
  const told: string[] = [];
  await ready({ logMaxAgeMs: 3_600_000, onKept: (lines) => void told.push(...lines) });
  expect([await configs(), told]).toEqual([before, []]);
});

test("larger settings reach streams that exist, and leave what an operator set beside ours", async () => {
  await ready({ logMaxAgeMs: 3_600_000, queueMessagesMax: 1 });
  await withHand(({ streams }) => streams.update("LONGSHORE_LOG", { description: "of the yard" }));
  const bus = await ready({ logMaxAgeMs: 7_200_000, queueMessagesMax: 2 });
  for (const jobId of ["a", "b"]) await bus.queue.publish("prefill", "m", "batch", { jobId, promptTokens: 1 });
  await expect(bus.queue.publish("prefill", "m", "batch", { jobId: "c", promptTokens: 1 })).rejects.toMatchObject({ code: "OVERLOADED" });
  expect((await configs()).LONGSHORE_LOG).toMatchObject({ max_age: 7_200e9, description: "of the yard" });
});

async function withHand<T>(act: (manager: JetStreamManager) => Promise<T>): Promise<T> {
  const hand = await connect({ servers: own.server.url });
  try {
    return await act(await hand.jetstreamManager());
  } finally {
    await hand.close();
  }
}

/** Of every stream, by its name. */
const configs = (): Promise<Record<string, StreamConfig>> =>
  withHand(async ({ streams }) => Object.fromEntries((await streams.list().next()).map(({ config }) => [config.name, config])));
