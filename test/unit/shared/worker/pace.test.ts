import { expect, test } from "vitest";
import { Pace } from "../../../../services/shared/worker/pace.ts";
import { VirtualClock } from "../../../support/virtual-clock.ts";

test("a pace is what jobs got done while there were any, and follows what changed", async () => {
  const clock = new VirtualClock();
  const pace = new Pace(clock);
  expect(pace.figures()).toEqual({ tokensPerSecond: null, tokensPerJobSecond: null });
  const jobs = [{ tokensDone: 100 }, { tokensDone: 0 }];
  for (const job of jobs) pace.begin(job);
  await clock.run(clock.sleep(60_000));
  for (const job of jobs) job.tokensDone += 3_000;
  expect(pace.figures()).toEqual({ tokensPerSecond: 100, tokensPerJobSecond: 50 });
  for (const job of jobs) pace.end(job);
  await clock.run(clock.sleep(60_000));
  expect(pace.figures().tokensPerSecond).toBe(100);
  const faster = { tokensDone: 0 };
  pace.begin(faster);
  await clock.run(clock.sleep(60_000));
  faster.tokensDone = 60_000;
  expect(pace.figures().tokensPerSecond).toBe(900); // the first minute counts an eighth
});
