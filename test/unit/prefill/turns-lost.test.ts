import { expect, test } from "vitest";
import type { Claim } from "../../../services/shared/bus/contract.ts";
import type { JobEvent } from "../../../services/shared/bus/events.ts";
import { TURN_IS_OVER } from "../../../services/shared/bus/reasons.ts";
import { crowd, long, short, yields } from "../../support/crowd.ts";
import { overriding } from "../../support/overriding.ts";

test("a store that takes nothing: each keeps its place to its end, as if there were no turns", async () => {
  const it = crowd({ slots: 1, store: (store) => overriding(store, { put: async () => false }) });
  const work = async () =>
    it.ended(await Promise.all([1, 2].map(async (salt) => ({ ids: long(salt), jobId: await it.submit(long(salt)) }))), 2);
  expect(yields(await it.clock.run(work()))).toBe(0);
});

/** A long job, and a short one behind it, where the store does not take the second value that it is given: the first time, or ever. */
async function behindALoss(how: "refused" | "thrown", forever: boolean) {
  let puts = 0;
  let lost: string | null = null;
  const it = crowd({
    slots: 1,
    store: (store) =>
      overriding(store, {
        put: async (key, ...rest) => {
          if (++puts === 2) lost = key;
          else if (!forever || key !== lost) return store.put(key, ...rest);
          if (how === "thrown") throw new Error("our own mistake");
          return false;
        },
      }),
  });
  const work = async () => {
    const jobs = [{ ids: long(1), jobId: await it.submit(long(1)) }];
    await it.isComputed(jobs[0]!.jobId);
    jobs.push({ ids: short, jobId: await it.submit(short) });
    return it.ended(jobs, 2);
  };
  return { logs: await it.clock.run(work()), computed: it.computed };
}

test("a segment that the store refused once is offered again: its job gives up its place, and nothing is computed twice", async () => {
  const { logs, computed } = await behindALoss("refused", false);
  expect(yields(logs)).toBeGreaterThan(0);
  expect(computed).toBe(long(1).length + short.length);
});

test.each([
  ["is refused", "refused", true],
  ["failed, by our own mistake", "thrown", false],
] as const)("a segment that %s: its job keeps its place", async (_, how, forever) => {
  const { logs } = await behindALoss(how, forever);
  expect(yields(logs)).toBe(0);
});

test("a store that keeps nothing while a job waits: turns grow, and little is computed twice", async () => {
  const gone = new Set<unknown>();
  const it = crowd({
    slots: 1,
    store: (store) =>
      overriding(store, {
        put: async (key, ...rest) => {
          gone.delete(key);
          return store.put(key, ...rest);
        },
        countPrefix: async (keys) => {
          for (const key of keys) gone.add(key);
          return 0;
        },
        get: async (key, ...rest) => (gone.has(key) ? null : store.get(key, ...rest)),
      }),
  });
  const prompts = [1, 2, 3].map((salt) => long(salt, 3_900));
  const work = async () => it.ended(await Promise.all(prompts.map(async (ids) => ({ ids, jobId: await it.submit(ids) }))));
  const logs = await it.clock.run(work());
  expect(yields(logs)).toBeGreaterThan(0);
  expect(it.computed).toBeLessThan(2.25 * 3 * 3_900);
});

/** Where a worker may die that passes a job on, and what goes there. */
const places = ["before its event", "behind its event", "behind its message"] as const;

test.each(places)("a worker that dies while a job gives up its place, %s: nothing is lost, and nothing done twice", async (place) => {
  let deaths = 0;
  const at = (here: (typeof places)[number]) => {
    if (here !== place || deaths > 0) return false;
    deaths++;
    it.worker.life.kill();
    it.start();
    return true;
  };
  const yielding = (event: JobEvent) => event.type === "released" && event.reason === TURN_IS_OVER;
  const watched = (claim: Claim): Claim =>
    overriding(claim, {
      append: async (event) => {
        if (!yielding(event)) return claim.append(event);
        if (at("before its event")) return new Promise(() => {});
        const record = await claim.append(event);
        at("behind its event");
        return record;
      },
    });
  const it = crowd({
    slots: 1,
    busOf: (bus) => ({
      ...bus,
      log: overriding(bus.log, {
        claim: async (...args) => {
          const result = await bus.log.claim(...args);
          return result.kind === "claimed" ? { ...result, claim: watched(result.claim) } : result;
        },
      }),
      queue: overriding(bus.queue, {
        publish: async (phase, model, lane, item) => {
          await bus.queue.publish(phase, model, lane, item);
          if (phase === "prefill" && item.log?.at(-1)?.event.type !== "submitted") at("behind its message");
        },
      }),
    }),
  });
  const work = async () => {
    const jobs = await Promise.all([1, 2, 3].map(async (salt) => ({ ids: long(salt), jobId: await it.submit(long(salt)) })));
    return it.ended(jobs, 2); // whoever had claimed to wait for the place died with it
  };
  expect(yields(await it.clock.run(work()))).toBeGreaterThan(0);
  expect(deaths).toBe(1);
});
