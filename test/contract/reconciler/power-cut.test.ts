import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openBus } from "../../../services/shared/bus/open.ts";
import { openMetrics } from "../../../services/shared/runtime/metrics.ts";
import { finished, held, never } from "../../support/bus.ts";
import { NatsServer } from "../../support/nats.ts";
import { aging, CLAIM_MS, messages, open, publish, quietFor, submitted } from "../../support/reconciler.ts";

let nats: NatsServer;
let bus: ReturnType<typeof aging>;

beforeEach(async () => {
  nats = await NatsServer.start();
  bus = aging(openBus({ url: nats.url, ackWaitMs: 60_000 }));
  await bus.ready(60_000);
});
afterEach(async () => {
  await bus.close();
  await nats.stop();
});

test("a queue that lost its end in a power cut, and gives nobody what comes next, is made to give it", async () => {
  for (let i = 0; i < 20; i++) {
    await publish(bus, "prefill", `before ${i}`);
    (await bus.queue.pull("prefill", "m", 10_000, never))!.ack();
  }
  await expect.poll(() => messages(bus)).toEqual([]);
  const stream = join(nats.directory, "store/jetstream/$G/streams/LONGSHORE_PREFILL");
  // The server writes its consumer's state some time after the acks, and leaves an empty file where it ends meanwhile. Bytes 2 and 3: the ack floor, the consumer's and the stream's.
  await expect.poll(() => [...readFileSync(join(stream, "obs/m-interactive/o.dat"))].slice(2, 4)).toEqual([20, 20]);
  await nats.kill("SIGTERM"); // the consumer's state is stored; its stream's is taken away
  rmSync(join(stream, "msgs"), { recursive: true });
  await nats.restart();
  await bus.ready(60_000);
  await submitted(bus, "job");
  await publish(bus, "prefill", "job");
  const metrics = openMetrics();
  const reconciler = await open(bus, { metrics });
  const pulled = bus.queue.pull("prefill", "m", 20_000, never);
  await reconciler.pass(); // it may still come by itself
  await quietFor(bus, 3_000);
  expect(await Promise.race([pulled, "nothing"])).toBe("nothing");
  expect(await metrics.text()).not.toContain("message not given");
  await bus.age(3 * CLAIM_MS);
  await reconciler.pass();
  expect((await pulled)?.item.jobId).toBe("job");
  expect(await metrics.text()).toContain('longshore_reconciled_jobs_total{reason="message not given"} 1');
});

test.each(["goes on", "takes over"])("an index that lost its end in a power cut hides no job from a reconciler that %s", async (how) => {
  for (let i = 0; i < 5; i++) {
    await submitted(bus, `before ${i}`);
    await held(await bus.log.claim(`before ${i}`, "prefill", "w")).append(finished);
  }
  const before = await open(bus);
  await before.pass();
  await before.pass(); // the first learns that they have ended
  expect(await bus.registry.lowWater()).toBe(5);
  await nats.kill("SIGTERM");
  rmSync(join(nats.directory, "store/jetstream/$G/streams/KV_longshore_jobs/msgs"), { recursive: true });
  await nats.restart();
  await bus.ready(60_000);
  for (let i = 0; i < (how === "goes on" ? 7 : 1); i++) await submitted(bus, `after ${i}`); // beyond what was read, or not
  await bus.age(CLAIM_MS);
  await (how === "goes on" ? before : await open(bus)).pass();
  expect((await messages(bus))[0]).toBe("prefill after 0");
  expect(await bus.registry.lowWater()).toBeLessThan(5);
});
