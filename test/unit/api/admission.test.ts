import { expect, test } from "vitest";
import { Admission } from "../../../services/api/admission.ts";
import { Prompts } from "../../../services/api/prompts.ts";
import { enqueue } from "../../../services/shared/bus/enqueue.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import { seededRandom } from "../../../services/shared/runtime/random.ts";
import { CHUNK_MS, crowd, long, short } from "../../support/crowd.ts";
import { Dice } from "../../support/dice.ts";
import { promptIds } from "../../support/model.ts";
import { requestOf } from "../../support/workers.ts";

const limits = { queueJobsMax: 1_000, backlogTokensMax: 1e9 };
const seconds = (ids: { readonly length: number }[]) => ids.reduce((sum, { length }) => sum + length, 0) / 96; // a chunk is a second

test.each(Array.from({ length: 10 }, (_, seed) => [seed]))(
  "a prompt behind long ones is told the time that turns take, not that of all that is before it (seed %d)",
  async (seed) => {
    const dice = new Dice(seededRandom(seed));
    const it = crowd({ slots: dice.whole(1, 3), stepMs: 1 });
    const { bus } = it.cluster;
    const admission = new Admission(bus, it.clock, "m", limits);
    const longs = Array.from({ length: dice.whole(2, 6) }, (_, salt) => long(salt, dice.whole(1_500, 3_900)));
    const work = async () => {
      await it.cluster.events(await it.submit(short)); // decode has shown its speed
      const jobs = await Promise.all(longs.map((ids) => it.submit(ids)));
      await it.isComputed(jobs[0]!);
      await it.clock.sleep(dice.upTo(5 * CHUNK_MS));
      const ids = promptIds(dice.whole(20, 400), 400);
      const told = await admission.estimate({ lane: "interactive", promptTokens: ids.length });
      const askedMs = it.clock.nowMs();
      const begun = await it.cluster.until(await it.submit(ids), ({ event }) => event.type === "handed_over");
      await Promise.all(jobs.map((jobId) => it.cluster.events(jobId)));
      await it.cluster.close();
      return { told: told!, took: (begun.atMs - askedMs) / 1_000, behindAll: seconds([...longs, ids]) };
    };
    const { told, took, behindAll } = await it.clock.run(work());
    expect(took).toBeLessThanOrEqual(told);
    expect(told).toBeLessThan(0.7 * behindAll);
  },
);

/** Seconds until the answer to a prompt of 100 tokens behind one of 100,000 begins, where prefill does 1,000 tokens a second and decode says so much of itself. */
async function behindALongOne(lane: "interactive" | "batch", turn: { turnMs?: number }) {
  const bus = openBus({ url: "memory:" });
  const beat = { model: "m", slots: 2, tokensPerSecond: 1_000, tokensPerJobSecond: 1_000 };
  await bus.registry.beat("prefill", "p", JSON.stringify({ ...beat, ...turn }));
  await bus.registry.beat("decode", "d", JSON.stringify(beat));
  await enqueue(bus.queue, "prefill", "long", requestOf({ prompt: { ids: new Int32Array(100_000) }, promptTokens: 100_000 }), 0);
  const told = await new Admission(bus, systemClock, "m", limits).estimate({ lane, promptTokens: 100 });
  await bus.close();
  return told;
}

test("a batch job waits for all that is before it; so does every job where workers have no turns", async () => {
  expect(await behindALongOne("interactive", { turnMs: 1_500 })).toBe(3.3); // 0.1 + 2 * (0.1 + 1.5)
  expect(await behindALongOne("batch", { turnMs: 1_500 })).toBe(100.1);
  expect(await behindALongOne("interactive", {})).toBe(100.1);
});

test.each(Array.from({ length: 20 }, (_, seed) => [seed]))(
  "of prompts, no more than so much of each: at most twice too much (seed %d)",
  (seed) => {
    const dice = new Dice(seededRandom(seed));
    const [prompts, sizes] = [new Prompts(), Array.from({ length: dice.whole(0, 50) }, () => dice.size(1, 1_000_000))];
    for (const size of sizes) prompts.add(size);
    for (const most of [0, dice.size(1, 1_000_000), dice.size(1, 1_000_000)]) {
      const exact = sizes.reduce((sum, size) => sum + Math.min(size, most), 0);
      expect(prompts.tokens(most)).toBeGreaterThanOrEqual(exact);
      expect(prompts.tokens(most)).toBeLessThanOrEqual(2 * exact);
    }
    expect(prompts.tokens()).toBe(sizes.reduce((sum, size) => sum + size, 0));
  },
);
