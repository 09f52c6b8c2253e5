import { describe, expect, test } from "vitest";
import { RECORD_BYTES_MAX } from "../../../services/shared/bus/codec.ts";
import { type Damage, tellDamage } from "../../../services/shared/bus/damage.ts";
import { silentLog } from "../../../services/shared/runtime/log.ts";
import { openMetrics } from "../../../services/shared/runtime/metrics.ts";
import { CLOCKS_MS, collect, held, never, request } from "../../support/bus.ts";
import { junk, memoryOpenToOthers, newer, openToOthers } from "../../support/damage.ts";
import { freshRecord } from "../../support/fresh-record.ts";
import { overriding } from "../../support/overriding.ts";

const ACK_WAIT_MS = 400;

const { opened } = freshRecord({ claimMs: 300, ackWaitMs: ACK_WAIT_MS });

const damages: readonly [string, Uint8Array][] = [
  ["junk", junk],
  ["nothing", new Uint8Array()],
  ["an event of a newer version", newer],
  ["more than a record may have", new Uint8Array(RECORD_BYTES_MAX + 1)],
];

describe.each(["memory", "nats"])("%s", (kind) => {
  test.each(damages)("%s as a job's last event: whoever needs it is told which, nobody appends, other jobs are well", async (_, bytes) => {
    const damages: Damage[] = [];
    const { bus, write } = await opened(openToOthers, kind, { onDamage: (damage) => damages.push(damage) });
    const { log } = bus;
    await log.submit("well", request());
    const claim = await log.submit("job", request()).then(async () => held(await log.claim("job", "prefill", "w")));
    const sequence = await write("job", bytes);
    const told = { code: "DAMAGED", message: expect.stringContaining(`event ${sequence} of job cannot be read`) };
    await expect(log.last("job")).rejects.toMatchObject(told);
    await expect(log.read("job")).rejects.toMatchObject(told);
    await expect(log.claim("job", "prefill", "second")).rejects.toMatchObject(told);
    for (const after of [0, sequence - 1]) await expect(collect(log.follow("job", after, never))).rejects.toMatchObject(told);
    expect(await claim.append({ type: "progress", done: 1, total: 3, stored: 1 }), "the fence").toBeNull();
    expect(await log.first("job")).toMatchObject({ event: { type: "submitted" } });
    expect(await log.lastStored("job")).toMatchObject({ jobId: "job", sequence, record: null });
    expect((await collect(log.lasts())).map(({ jobId, record }) => [jobId, record?.event.type])).toEqual([
      ["well", "submitted"],
      ["job", undefined],
    ]);
    expect(new Set(damages.map(({ jobId, sequence }) => `${jobId} ${sequence}`))).toEqual(new Set([`job ${sequence}`]));
    expect((await log.claim("well", "prefill", "w")).kind).toBe("claimed");
  });

  test("a job whose log is damaged in the middle is claimed by nobody, and no attempt counts", async () => {
    const { bus, write } = await opened(openToOthers, kind);
    await bus.log.submit("job", request());
    const sequence = await write("job", junk);
    const stored = await bus.log.lastStored("job");
    expect(await bus.log.appendAfter(stored!, { type: "sent_back", reason: "the test" })).toBe(true);
    const { attempt, epoch } = (await bus.log.last("job"))!;
    expect([attempt, epoch]).toEqual([0, 0]);
    const told = { code: "DAMAGED", message: expect.stringContaining(`event ${sequence} of job`) };
    await expect(bus.log.claim("job", "prefill", "w")).rejects.toMatchObject(told);
    expect((await bus.log.last("job"))?.event.type).toBe("sent_back");
  });

  test("its message comes again once per ack wait, whoever cannot read it; whoever can goes on", async () => {
    const { bus, write } = await opened(openToOthers, kind);
    await bus.log.submit("job", request({ model: "m" }));
    await bus.queue.publish("prefill", "m", "interactive", { jobId: "job", promptTokens: 3 });
    await write("job", newer);
    const askedMs = performance.now();
    for (let i = 0; i < 3; i++) {
      const message = await bus.queue.pull("prefill", "m", 20_000, never);
      expect(performance.now() - askedMs).toBeGreaterThanOrEqual(i * (ACK_WAIT_MS - CLOCKS_MS));
      await expect(bus.log.claim(message!.item.jobId, "prefill", "old")).rejects.toMatchObject({ code: "DAMAGED" });
    }
  });
});

test("each damaged job is counted and logged once by a process, with its id and sequence", async () => {
  const lines: unknown[] = [];
  const log = overriding(silentLog, { error: ((fields: unknown) => void lines.push(fields)) as typeof silentLog.error });
  const metrics = openMetrics();
  const { bus, write } = memoryOpenToOthers({ onDamage: tellDamage(log, metrics) });
  for (const jobId of ["one", "two"]) await write(jobId, junk);
  for (let i = 0; i < 3; i++) await collect(bus.log.lasts());
  await expect(bus.log.last("one")).rejects.toMatchObject({ code: "DAMAGED" });
  expect(lines).toMatchObject([
    { jobId: "one", sequence: 1 },
    { jobId: "two", sequence: 2 },
  ]);
  expect(await metrics.text()).toContain("longshore_damaged_jobs_total 2");
});
