import { expect, test } from "vitest";
import { Retention } from "../../../services/api/reconciler/retention.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import { request } from "../../support/bus.ts";
import { overriding } from "../../support/overriding.ts";

const HOUR_MS = 3_600_000;

test("what is over is purged, also after the record's clock was a month ahead for one pass", async () => {
  let aheadMs = 0;
  const bus = openBus({ url: "memory:", clock: overriding(systemClock, { nowMs: () => Date.now() + aheadMs }) });
  const retention = new Retention(bus, HOUR_MS, () => false);
  const pass = async () => retention.pass(await bus.log.nowMs());
  aheadMs = 30 * 24 * HOUR_MS;
  await pass();
  aheadMs = 0;
  await bus.registry.noteJob("job", "{}");
  await bus.log.appendAfter(await bus.log.submit("job", request()), { type: "expired" });
  await pass();
  expect(await bus.log.last("job")).not.toBeNull();
  aheadMs = 2 * HOUR_MS;
  await pass();
  expect(await bus.log.last("job")).toBeNull();
  await bus.close();
});
