import { expect, test } from "vitest";
import { Admission, type Demand } from "../../../services/api/admission/admission.ts";
import type { Lane } from "../../../services/shared/bus/events.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { VirtualClock } from "../../support/virtual-clock.ts";

const roomy = { queueJobsMax: 1_000, backlogTokensMax: 1e9, shareMs: 10_000 };
const measured = { slots: 20, tokensPerSecond: 1_000, tokensPerJobSecond: 50 };

/** A door in front of one worker of each phase, which do a thousand tokens a second. */
async function door(limits = roomy, beat: object = measured) {
  const clock = new VirtualClock();
  const bus = openBus({ url: "memory:", clock });
  for (const phase of ["prefill", "decode"] as const) await bus.registry.beat(phase, phase, JSON.stringify({ model: "m", ...beat }));
  const admission = new Admission(bus, clock, "m", limits);
  const demand = (tenant: string, promptTokens: number, more: Partial<Demand> = {}): Demand => ({
    ...{ tenant, lane: "interactive", promptTokens, maxTokens: 1, deadlineMs: 1e15, ...more },
  });
  return {
    admit: async (tenant: string, promptTokens: number, more: Partial<Demand> = {}, jobs = 1) =>
      admission.admit(demand(tenant, promptTokens, more), jobs, () => {}),
    estimate: (lane: Lane, promptTokens: number) => admission.estimate({ lane, promptTokens }),
  };
}
const lanesOf = (admitted: readonly { readonly lane: Lane }[]) => admitted.map(({ lane }) => lane);

test("of a tenant's prompts what takes prefill longer than its share waits behind others, and whoever comes late has his share", async () => {
  const { admit } = await door();
  const crowd = await admit("a", 4_000, {}, 5);
  expect(lanesOf(crowd)).toEqual(["interactive", "interactive", "interactive", "surplus", "surplus"]);
  expect(lanesOf(await admit("b", 4_000, {}, 2))).toEqual(["interactive", "interactive"]);
  for (const { forget } of crowd.slice(0, 3)) forget();
  expect(lanesOf(await admit("a", 4_000)), "surplus takes nothing of the share").toEqual(["interactive"]);
});

test("a tenant that is alone has its work done in the order it came", async () => {
  const { admit } = await door();
  const crowd = await admit("a", 4_000, {}, 4);
  for (const { forget } of crowd.slice(0, 3)) forget();
  expect(lanesOf(await admit("a", 1))).toEqual(["surplus"]);
  crowd[3]!.forget();
  expect(lanesOf(await admit("a", 1)), "behind its own surplus, once it is there").toEqual(["surplus"]);
});

test("a tenant has jobs for half of decode's places; batches count nothing of it and stay what they are", async () => {
  const { admit } = await door(roomy, { ...measured, slots: 6 });
  await admit("a", 1e6, { lane: "batch" });
  expect(lanesOf(await admit("a", 1, {}, 5))).toEqual(["interactive", "interactive", "interactive", "surplus", "surplus"]);
  expect(lanesOf(await admit("a", 1, { lane: "batch" }))).toEqual(["batch"]);
});

test("there are no shares among those who cannot be told apart, nor while nobody knows what the workers can do", async () => {
  const lanesOfTen = async (it: Awaited<ReturnType<typeof door>>, tenant: string) =>
    new Set(lanesOf(await it.admit(tenant, 4_000, {}, 10)));
  expect(await lanesOfTen(await door(), "default")).toEqual(new Set(["interactive"]));
  expect(await lanesOfTen(await door(roomy, { ...measured, tokensPerSecond: null }), "a")).toEqual(new Set(["interactive"]));
  expect(await lanesOfTen(await door(roomy, { ...measured, model: "another" }), "a")).toEqual(new Set(["interactive"]));
});

test.each(["interactive", "batch"] as const)(
  "a tenant takes as much room of the %s lane as is left for others, and others find some",
  async (lane) => {
    for (const limits of [
      { ...roomy, queueJobsMax: 12 },
      { ...roomy, backlogTokensMax: 120 },
    ]) {
      const { admit } = await door(limits);
      const takes = async (tenant: string) => {
        for (let jobs = 0; ; jobs++) {
          const refused = await admit(tenant, 9, { lane }).then(
            () => null,
            (thrown: unknown) => thrown,
          );
          if (refused !== null) return [jobs, refused];
        }
      };
      const theirs = expect.objectContaining({
        code: "OVERLOADED",
        message: expect.stringMatching(/^your jobs take as much room as is left for others; try again in \d+ s$/),
      });
      expect(await takes("a")).toEqual([6, theirs]);
      expect(await takes("b")).toEqual([3, theirs]);
      expect(await takes("default")).toEqual([
        3,
        expect.objectContaining({ message: expect.stringMatching(/(12 jobs|120 tokens) are waiting already/) }),
      ]);
    }
  },
);

test("answers to one request get in together where there is room for all, though they are more than is left for others", async () => {
  const { admit } = await door({ ...roomy, queueJobsMax: 6 });
  await admit("b", 1);
  await admit("a", 1);
  expect(await admit("a", 1, {}, 4)).toHaveLength(4);
});

test("a surplus is told to wait for all interactive work; that waits for no surplus but what keeps the place beside it", async () => {
  const turns = await door(roomy, { ...measured, turnMs: 1_500, chunkMs: 500 });
  await turns.admit("a", 100_000);
  await turns.admit("a", 100_000);
  const interactive = 0.1 + 2 * (0.1 + 1.5) + 0.1 + 2 * 0.5;
  expect(await turns.estimate("interactive", 100)).toBeCloseTo(interactive + 0.1);
  expect(await turns.estimate("surplus", 100)).toBeCloseTo(interactive + 2 * (0.1 + 1.5) + 0.5);
  expect(await turns.estimate("batch", 100)).toBeCloseTo(200.1);
  const none = await door();
  await none.admit("a", 11_000);
  await none.admit("a", 5_000);
  expect(await none.estimate("interactive", 100)).toBeCloseTo(11.2);
  expect(await none.estimate("surplus", 100)).toBeCloseTo(16.1);
});
