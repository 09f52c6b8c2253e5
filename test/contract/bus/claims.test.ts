import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { openBus } from "../../../services/shared/bus/open.ts";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import {
  CLOCKS_MS,
  faultsOf,
  finished,
  handedOver,
  held,
  progress,
  request,
  submitAndClaim,
  takeOver,
  takeoversMs,
  tokens,
} from "../../support/bus.ts";
import { freshRecord } from "../../support/fresh-record.ts";

const { fresh } = freshRecord({ attemptsMax: 3 });

test("a claim of before the record's clock was set back is as old as it is ahead: nobody waits until that clock is there again", async () => {
  const claimMs = 86_400_000;
  let setMs = 0;
  const bus = openBus({ url: "memory:", claimMs, clock: { ...systemClock, nowMs: () => Date.now() + setMs } });
  const first = await submitAndClaim(bus, "job");
  setMs = -claimMs / 2;
  expect((await bus.log.claim("job", "prefill", "second")).kind).toBe("held");
  setMs = -2 * claimMs;
  const second = held(await bus.log.claim("job", "prefill", "second"));
  expect(await first.append(progress(1))).toBeNull();
  expect(await second.append(progress(1))).not.toBeNull();
  expect((await bus.log.claim("job", "prefill", "third")).kind).toBe("held");
});

describe.each(["memory", "nats"])("%s", (kind) => {
  describe("claim", () => {
    test("has exactly one winner among racers, and the log shows it", async () => {
      const bus = await fresh(kind);
      await bus.log.submit("job", request());
      const results = await Promise.all(Array.from({ length: 8 }, (_, i) => bus.log.claim("job", "prefill", `w${i}`)));
      expect(results.filter(({ kind }) => kind === "claimed")).toHaveLength(1);
      expect(results.filter(({ kind }) => kind === "held")).toHaveLength(7);
      expect((await bus.log.read("job")).map(({ event }) => event.type)).toEqual(["submitted", "claimed"]);
    });

    test("is kept by appends and taken over once they stop; the zombie's late append is refused for ever", async () => {
      const claimMs = 300;
      const bus = await fresh(kind, { claimMs });
      const zombie = await submitAndClaim(bus, "job");
      const taken = takeOver(bus, "job", "prefill", "second"); // asks all the while
      for (let i = 1; i <= 5; i++) {
        await sleep(claimMs / 3);
        await zombie.append(progress(i));
      }
      const successor = held(await taken);
      expect(successor.epoch).toBe(zombie.epoch + 1);
      expect((await takeoversMs(bus, "job"))[0]).toBeGreaterThanOrEqual(claimMs - CLOCKS_MS);
      expect(await zombie.append(progress(6))).toBeNull();
      expect(zombie.lost).toBe(true);
      expect(await successor.append(handedOver)).not.toBeNull();
      expect(await zombie.append(finished)).toBeNull();
      expect(faultsOf(await bus.log.read("job"))).toEqual([]);
    });

    test("is over for an unknown job, another phase, and an ended job", async () => {
      const bus = await fresh(kind);
      expect((await bus.log.claim("nobody", "prefill", "w")).kind).toBe("over");
      const claim = await submitAndClaim(bus, "job");
      await claim.append(handedOver);
      expect((await bus.log.claim("job", "prefill", "w")).kind).toBe("over");
      await held(await bus.log.claim("job", "decode", "w")).append(finished);
      expect((await bus.log.claim("job", "decode", "w")).kind).toBe("over");
    });

    test("takes a hint that is true for the log, and reads past one that is stale, incomplete or of another phase", async () => {
      const bus = await fresh(kind);
      const submitted = await bus.log.submit("job", request());
      const first = await bus.log.claim("job", "prefill", "first", [submitted]);
      if (first.kind !== "claimed") throw new Error(first.kind);
      expect(first.history).toEqual(await bus.log.read("job"));
      expect(await bus.log.claim("job", "prefill", "late", [submitted])).toEqual({ kind: "held" });
      await first.claim.append({ type: "released", reason: "test" });
      const second = held(await bus.log.claim("job", "prefill", "second", first.history));
      expect([second.epoch, second.attempt]).toEqual([2, 2]);
      await second.append(handedOver);
      const whole = await bus.log.read("job");
      expect(await bus.log.claim("job", "prefill", "astray", whole)).toEqual({ kind: "over" });
      const third = await bus.log.claim("job", "decode", "third", [whole[0]!, whole.at(-1)!]);
      if (third.kind !== "claimed") throw new Error(third.kind);
      expect(third.history).toEqual(await bus.log.read("job"));
      await third.claim.append(finished);
      expect(await bus.log.claim("job", "decode", "fourth", whole)).toEqual({ kind: "over" });
      expect(faultsOf(await bus.log.read("job"))).toEqual([]);
    });

    test("of a job whose id is used again, right after it was deleted, is nobody else's: what its writer appends is in the log", async () => {
      const bus = await fresh(kind);
      for (let life = 0; life < 2; life++) {
        await bus.log.submit("job", request());
        await held(await bus.log.claim("job", "prefill", "w")).append(finished);
        expect((await bus.log.read("job")).map(({ event }) => event.type)).toEqual(["submitted", "claimed", "finished"]);
        await bus.log.delete("job");
      }
    });

    test("by a hint of a job that was deleted is over", async () => {
      const bus = await fresh(kind);
      const submitted = await bus.log.submit("job", request());
      await bus.log.delete("job");
      for (const sequence of [submitted.sequence, 0]) {
        expect(await bus.log.claim("job", "prefill", "worker", [{ ...submitted, sequence }])).toEqual({ kind: "over" });
        expect(await bus.log.read("job")).toEqual([]);
      }
    });

    test("needs no wait after handed_over, sent_back and released", async () => {
      const bus = await fresh(kind);
      await (await submitAndClaim(bus, "job")).append({ type: "released", reason: "draining" });
      await held(await bus.log.claim("job", "prefill", "second")).append(handedOver);
      await held(await bus.log.claim("job", "decode", "third")).append({ type: "sent_back", reason: "segment gone" });
      const fourth = held(await bus.log.claim("job", "prefill", "fourth"));
      expect([fourth.epoch, fourth.tokenCount]).toEqual([4, 1]);
    });

    test("ends with the event that ends it", async () => {
      const bus = await fresh(kind);
      const claim = await submitAndClaim(bus, "job");
      expect(await claim.append(handedOver)).toMatchObject({ phase: "decode", tokenCount: 1 });
      expect(await claim.append(finished)).toBeNull();
      expect((await bus.log.last("job"))?.event.type).toBe("handed_over");
    });

    test("counts attempts that stored nothing, forgives excused releases, and is exhausted after attemptsMax", async () => {
      const bus = await fresh(kind);
      const release = { type: "released", reason: "engine failed" } as const;
      const first = await submitAndClaim(bus, "job");
      expect(first.attempt).toBe(1);
      await first.append({ ...release, excused: true });
      for (const attempt of [1, 2]) {
        const claim = held(await bus.log.claim("job", "prefill", "w"));
        expect(claim.attempt).toBe(attempt);
        await claim.append(release);
      }
      const storing = held(await bus.log.claim("job", "prefill", "w"));
      expect(storing.attempt).toBe(3);
      await storing.append(progress(1));
      expect(storing.attempt).toBe(0);
      await storing.append(release);
      for (const attempt of [1, 2, 3]) {
        const result = await bus.log.claim("job", "prefill", "w");
        expect([result.kind, held(result).attempt]).toEqual(["claimed", attempt]);
        await held(result).append(release);
      }
      const result = await bus.log.claim("job", "prefill", "w");
      expect(result.kind).toBe("exhausted");
      expect(await held(result).append({ type: "failed", code: "INTERNAL", message: "gave up" })).not.toBeNull();
    });

    test("refuses tokens that leave a hole or come twice", async () => {
      const bus = await fresh(kind);
      const claim = await submitAndClaim(bus, "job");
      await claim.append(tokens(0, 1, 2));
      await expect(claim.append(tokens(1, 3))).rejects.toMatchObject({ code: "INTERNAL" });
      await expect(claim.append(tokens(3, 3))).rejects.toMatchObject({ code: "INTERNAL" });
      expect(await claim.append(tokens(2, 3))).toMatchObject({ tokenCount: 3 });
    });

    test("appends overlapping calls in the order they were made", async () => {
      const bus = await fresh(kind);
      const claim = await submitAndClaim(bus, "job");
      await Promise.all(Array.from({ length: 20 }, (_, i) => claim.append(tokens(i, i))));
      expect(faultsOf(await bus.log.read("job"))).toEqual([]);
      expect(claim.tokenCount).toBe(20);
    });
  });
});
