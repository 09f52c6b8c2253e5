import { expect, test } from "vitest";
import { Admission } from "../../../services/api/admission/admission.ts";
import { submit } from "../../../services/api/submit.ts";
import type { LogRecord } from "../../../services/shared/bus/events.ts";
import { seededRandom } from "../../../services/shared/runtime/random.ts";
import { CHUNK_MS, crowd, isYield, long, short } from "../../support/crowd.ts";
import { promptIds } from "../../support/model.ts";
import { VirtualClock } from "../../support/virtual-clock.ts";
import { requestOf, testCluster } from "../../support/workers.ts";

const endedMs = (records: readonly LogRecord[]) => records.at(-1)!.atMs;

test("a tenant that sends a crowd has it done, and holds nobody up who sends little, before decode and in it", async () => {
  const clock = new VirtualClock();
  const cluster = testCluster({ clock });
  const { bus } = cluster;
  const admission = new Admission(bus, clock, "m", { queueJobsMax: 10_000, backlogTokensMax: 1e9, shareMs: 2_000 });
  const random = seededRandom(1);
  const { prompt: _, promptTokens: __, ...job } = requestOf({ maxTokens: 20, stopIds: [], deadlineMs: 1e15 });
  const ask = async (tenant: string, salt: number) => {
    const submission = { request: job, ids: promptIds(480, salt), idempotencyKey: null, bodyHash: "" };
    return (await submit({ bus, random, admission }, { ...submission, tenant })).jobId;
  };
  const work = async () => {
    for (const role of ["prefill", "decode"] as const)
      cluster.start(role, { engine: { chunkMs: 20, stepMs: 10, batchMax: 4, turn: () => clock.sleep(0) } });
    await cluster.events(await ask("first", 0));
    while ((await admission.estimate({ lane: "interactive", promptTokens: 1 })) === null) await clock.sleep(100); // the workers have not shown their speed
    const beganMs = clock.nowMs();
    const crowd = await Promise.all(Array.from({ length: 200 }, (_, i) => ask("crowd", 1 + i)));
    await clock.sleep(1_000);
    const few = await Promise.all(["b", "c"].map((tenant, i) => ask(tenant, 300 + i)));
    const [crowds, fews] = [
      await Promise.all(crowd.map((id) => cluster.events(id))),
      await Promise.all(few.map((id) => cluster.events(id))),
    ];
    await cluster.close();
    return { beganMs, crowds, fews };
  };
  const { beganMs, crowds, fews } = await clock.run(work());
  const all = Math.max(...crowds.map(endedMs)) - beganMs;
  expect(all).toBeGreaterThan(10_000);
  for (const records of fews) expect(endedMs(records) - records[0]!.atMs).toBeLessThan(2_000 + 1_000);
  for (const records of [...crowds, ...fews]) expect(records.at(-1)!.event.type).toBe("finished");
});

test.each([
  ["surplus", "interactive", 1],
  ["interactive", "interactive", 1],
  ["surplus", "surplus", 1],
  ["interactive", "surplus", 0],
] as const)("a long %s prompt gives up its place for %s work %d times", async (held, waits, times) => {
  const it = crowd({ slots: 1 });
  const work = async () => {
    const first = await it.submit(long(1), { lane: held });
    await it.isComputed(first);
    await it.submit(short, { lane: waits });
    const records = await it.cluster.events(first);
    await it.cluster.close();
    return records;
  };
  expect((await it.clock.run(work())).filter(isYield)).toHaveLength(times);
});

test("of two whose turn is over the surplus leaves, though it came first", async () => {
  const it = crowd({ slots: 3 });
  const work = async () => {
    const jobs = [];
    for (const [i, lane] of (["interactive", "surplus", "interactive"] as const).entries()) {
      jobs.push(await it.submit(long(i, 3_900), { lane }));
      await it.isComputed(jobs[i]!);
    }
    await it.clock.sleep(10 * CHUNK_MS);
    await it.cluster.answer(await it.submit(short));
    const yields = await Promise.all(jobs.map(async (jobId) => (await it.cluster.events(jobId)).filter(isYield).length));
    await it.cluster.close();
    return yields;
  };
  expect(await it.clock.run(work())).toEqual([0, 1, 0]);
});
