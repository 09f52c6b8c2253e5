import { expect, test } from "vitest";
import { Admission } from "../../../services/api/admission/admission.ts";
import { submit } from "../../../services/api/submit.ts";
import type { Lane, LogRecord } from "../../../services/shared/bus/events.ts";
import { TURN_IS_OVER } from "../../../services/shared/bus/reasons.ts";
import { seededRandom } from "../../../services/shared/runtime/random.ts";
import { crowd, long, short } from "../../support/crowd.ts";
import { promptIds } from "../../support/model.ts";
import { VirtualClock } from "../../support/virtual-clock.ts";
import { requestOf, testCluster } from "../../support/workers.ts";

const OVERTAKEN = "interactive work goes first";
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
  ["surplus", "interactive", [OVERTAKEN]],
  ["interactive", "interactive", [TURN_IS_OVER]],
  ["surplus", "surplus", [TURN_IS_OVER]],
  ["batch", "surplus", [OVERTAKEN]],
  ["interactive", "surplus", []],
] as const)("a long %s prompt gives up its place for %s work: %j", async (held, waits, reasons) => {
  const it = crowd({ slots: 1 });
  const work = async () => {
    const first = await it.submit(long(1), { lane: held });
    await it.isComputed(first);
    await it.submit(short, { lane: waits });
    const records = await it.cluster.events(first);
    await it.cluster.close();
    return records;
  };
  expect((await it.clock.run(work())).flatMap(({ event }) => (event.type === "released" ? [event.reason] : []))).toEqual(reasons);
});

test("answers of a crowd's surplus make way at once for whoever asks interactively, by their lanes, the last first", async () => {
  const clock = new VirtualClock();
  const cluster = testCluster({ clock });
  const endless = (salt: number, lane: Lane) => ({ prompt: { ids: promptIds(50, salt) }, maxTokens: 3_000, stopIds: [], lane });
  const work = async () => {
    cluster.start("prefill", { engine: { turn: () => clock.sleep(0) } });
    cluster.start("decode", { engine: { stepMs: 10, batchMax: 4, turn: () => clock.sleep(0) } });
    const held: string[] = [];
    for (const [i, lane] of (["interactive", "batch", "surplus", "surplus"] as const).entries()) {
      held.push(await cluster.submit(endless(i, lane)));
      await cluster.until(held[i]!, ({ event }) => event.type === "tokens");
    }
    const askedMs = clock.nowMs();
    const few = await Promise.all([10, 11].map((salt) => cluster.submit({ ...endless(salt, "interactive"), maxTokens: 100 })));
    const tookMs = Math.max(...(await Promise.all(few.map((jobId) => cluster.events(jobId)))).map(endedMs)) - askedMs;
    const logs = await Promise.all(held.map((jobId) => cluster.events(jobId)));
    await cluster.close();
    return { tookMs, released: logs.map((records) => records.filter(({ event }) => event.type === "released").length) };
  };
  const { tookMs, released } = await clock.run(work());
  expect(tookMs).toBeLessThan(3_000); // a second of steps, and looks; those who make way take thirty
  expect(released).toEqual([0, 1, 0, 1]);
});
