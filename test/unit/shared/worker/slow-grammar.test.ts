import { expect, test } from "vitest";
import { followed } from "../../../simulation/grammar.ts";
import { promptIds } from "../../../support/model.ts";
import { VirtualClock } from "../../../support/virtual-clock.ts";
import { settings, testCluster } from "../../../support/workers.ts";

test("a schema that takes longer than a claim to compile is compiled once by each phase, and nobody else takes the job", async () => {
  const clock = new VirtualClock();
  let compiled = 0;
  const cluster = testCluster({
    clock,
    follow: (constraint) => {
      let known = false;
      return followed(async () => {
        if (!known) await clock.sleep(10 * settings.claimMs);
        if (!known) compiled++;
        known = true;
      })(constraint);
    },
  });
  for (const role of ["prefill", "prefill", "decode", "decode"] as const) cluster.start(role);
  const jobId = await cluster.submit({ prompt: { ids: promptIds(60) }, constraint: { schema: "{}" }, deadlineMs: clock.nowMs() + 600_000 });
  const events = (await cluster.events(jobId)).map(({ event }) => event.type);
  expect(events.filter((type) => type !== "progress" && type !== "tokens")).toEqual([
    "submitted",
    "claimed",
    "handed_over",
    "claimed",
    "finished",
  ]);
  expect(compiled).toBe(2);
  await cluster.close();
});
