import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { Connection } from "../../../services/shared/bus/nats/connection.ts";
import { ensureStream } from "../../../services/shared/bus/nats/layout.ts";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import { systemRandom } from "../../../services/shared/runtime/random.ts";
import { collect, finished, never, request, submitAndClaim } from "../../support/bus.ts";
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
  expect(await bus.queue.pull("prefill", "m", 50, never)).toBeNull();
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
    await ensureStream(connection, config);
    await expect(ensureStream(connection, { ...config, no_such_setting: true })).rejects.toThrow(
      "did not take no_such_setting of stream X",
    );
  } finally {
    await connection.close();
  }
});

test("a log that holds more than its new size is left as it is, and who asked for that is told", async () => {
  const bus = await ready({ logMaxBytes: 2_097_152 });
  const large = request({ prompt: { ids: new Int32Array(200_000).fill(1) } });
  for (const jobId of ["first", "second", "third", "fourth", "fifth", "sixth"]) await bus.log.submit(jobId, large);
  const narrow = open({ logMaxBytes: 1_048_576 });
  const told = () => narrow.ready(500).catch(({ message }: Error) => message);
  await expect.poll(told, { timeout: 20_000 }).toMatch(/^stream \w+_LOG holds 12\d{5} bytes .* raise LONGSHORE_LOG_MAX_BYTES/);
  expect((await bus.log.first("first"))?.event.type).toBe("submitted");
  expect((await bus.log.submit("seventh", large)).event.type, "the size is what it was").toBe("submitted");
});

test("changed settings reach streams that exist", async () => {
  await ready({ logMaxAgeMs: 3_600_000 });
  const bus = await ready({ logMaxAgeMs: 7_200_000, queueMessagesMax: 1 });
  await bus.queue.publish("prefill", "m", "batch", { jobId: "a", follows: 1, promptTokens: 1 });
  await expect(bus.queue.publish("prefill", "m", "batch", { jobId: "b", follows: 1, promptTokens: 1 })).rejects.toMatchObject({
    code: "OVERLOADED",
  });
});
