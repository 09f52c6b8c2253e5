import { describe, expect, test } from "vitest";
import { type ReconcilingOptions, reconcileUntil } from "../../../services/api/reconciler/reconcile-until.ts";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { Reach } from "../../../services/shared/bus/reach.ts";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import { silentLog } from "../../../services/shared/runtime/log.ts";
import { systemRandom } from "../../../services/shared/runtime/random.ts";
import { collect, finished, held } from "../../support/bus.ts";
import { overriding } from "../../support/overriding.ts";
import { agingRecord, CLAIM_MS, counting, messages, open, publish, reconcilerOf, submitted } from "../../support/reconciler.ts";
import { VirtualClock } from "../../support/virtual-clock.ts";

const { fresh } = agingRecord({ claimMs: CLAIM_MS, ackWaitMs: 60_000 });

const replicaOf = (bus: Bus, replica: string): ReconcilingOptions => ({
  ...reconcilerOf(bus),
  ...{ replica, claimMs: 300, beatMs: 40, clock: systemClock, random: systemRandom, log: silentLog },
  reach: new Reach(silentLog, systemClock),
});

describe.each(["memory", "nats"])("%s: the reconciler", (kind) => {
  test("goes on where another stopped, without reading the log", async () => {
    const bus = await fresh(kind);
    for (const jobId of ["ended", "waits", "behind"]) await submitted(bus, jobId);
    for (const jobId of ["ended", "behind"]) await held(await bus.log.claim(jobId, "prefill", "w")).append(finished);
    await (await open(bus)).pass();
    const [, waits] = await bus.registry.notes(0, 10);
    expect(await bus.registry.lowWater()).toBe(waits!.place - 1);
    const asked: string[] = [];
    const next = await open({ ...bus, log: counting(bus.log, asked) });
    await bus.age(CLAIM_MS);
    await next.pass();
    expect(await messages(bus)).toEqual(["prefill waits"]);
    expect(asked).not.toContain("lasts");
    await held(await bus.log.claim("waits", "prefill", "w")).append(finished);
    await bus.queue.withdraw("prefill", "waits");
    await next.pass();
    expect(await bus.registry.lowWater()).toBe((await bus.registry.jobs(1))[0]!.place);
  });

  test("asks a bounded number of questions, however many jobs wait", async () => {
    const bus = await fresh(kind);
    const count = 10_000;
    const lanes = Array.from({ length: 100 }, async (_, lane) => {
      for (let i = lane; i < count; i += 100) {
        await submitted(bus, `job${i}`);
        await publish(bus, "prefill", `job${i}`);
      }
    });
    await Promise.all(lanes);
    const asked: string[] = [];
    const counted = { ...bus, log: counting(bus.log, asked), queue: counting(bus.queue, asked), registry: counting(bus.registry, asked) };
    const reconciler = await open(counted);
    await bus.age(4 * CLAIM_MS);
    await reconciler.pass(); // reads the notes of jobs it knows already
    asked.length = 0;
    await reconciler.pass();
    expect(asked.length).toBeLessThan(50);
    expect(await messages(bus)).toHaveLength(count);
  });

  test("runs in one of many processes, and in another once that one is gone", async () => {
    const bus = await fresh(kind, { beatLifeMs: 1_000 });
    await submitted(bus, "first");
    const stops = ["a", "b"].map((replica) => {
      const stop = new AbortController();
      void reconcileUntil(replicaOf(bus, replica), stop.signal);
      return stop;
    });
    await expect.poll(() => messages(bus), { timeout: 20_000 }).toEqual(["prefill first"]);
    stops[0]!.abort();
    await submitted(bus, "second");
    await expect.poll(() => messages(bus), { timeout: 20_000 }).toEqual(["prefill first", "prefill second"]);
    stops[1]!.abort();
  });
});

test("a long audit is done by one of many: it shows that it gets on", async () => {
  const clock = new VirtualClock();
  const bus = openBus({ url: "memory:", beatLifeMs: 400, clock });
  await submitted(bus, "ended");
  await held(await bus.log.claim("ended", "prefill", "w")).append(finished);
  const [ended] = await collect(bus.log.lasts());
  let audits = 0;
  const lasts = async function* () {
    audits++;
    for (let page = 0; page < 10; page++) {
      await clock.sleep(100);
      for (let i = 0; i < 1_000; i++) yield ended!;
    }
  };
  const stop = new AbortController();
  const paging = { ...bus, log: overriding(bus.log, { lasts }) };
  const running = ["a", "b"].map((replica) => reconcileUntil({ ...replicaOf(paging, replica), clock }, stop.signal));
  await clock.run(clock.sleep(5_000));
  expect(await bus.registry.lowWater()).not.toBeNull();
  stop.abort();
  await Promise.all(running);
  expect(audits).toBe(1);
});

test("an index from which the newest notes were deleted is what it was, and the log is not read again", async () => {
  const bus = await fresh("memory");
  for (const jobId of ["first", "second"]) await submitted(bus, jobId);
  const asked: string[] = [];
  const reconciler = await open({ ...bus, log: counting(bus.log, asked) });
  asked.length = 0;
  for (const jobId of ["first", "second"]) await bus.registry.forget(jobId);
  await reconciler.pass();
  await submitted(bus, "third");
  await bus.age(CLAIM_MS);
  await reconciler.pass();
  expect(await messages(bus)).toContain("prefill third");
  expect(asked).not.toContain("lasts");
});
