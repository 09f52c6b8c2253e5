import { expect, test } from "vitest";
import { cancelJob } from "../../../services/api/jobs.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { submitAndClaim } from "../../support/bus.ts";

test("whoever cancels a job ends it only where nobody holds it: its holder writes down first what it has drawn", async () => {
  const bus = openBus({ url: "memory:" });
  const last = async () => (await bus.log.last("job"))?.event.type;
  const claim = await submitAndClaim(bus, "job");
  expect([await cancelJob(bus, "job", "client"), await last()]).toEqual([true, "claimed"]);
  expect(await bus.registry.cancelMark("job")).toBe("client");
  await claim.append({ type: "released", reason: "drained", excused: true });
  expect([await cancelJob(bus, "job", "client"), await last()]).toEqual([true, "cancelled"]);
  expect(await cancelJob(bus, "job", "client")).toBe(false);
});
