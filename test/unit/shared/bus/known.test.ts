import { expect, test } from "vitest";
import type { Appended } from "../../../../services/shared/bus/journal.ts";
import { untilKnown } from "../../../../services/shared/bus/known.ts";
import { VirtualClock } from "../../../support/virtual-clock.ts";

const unknown: Appended = { kind: "unknown", cause: new Error("no answer") };
const full: Appended = { kind: "full" };
const refused: Appended = { kind: "refused" };

/** What becomes of an append whose tries are answered like this, when `found` is what the record then holds of it. */
async function outcome(answers: readonly Appended[], found: number | null = null, waits = false): Promise<number | null> {
  const clock = new VirtualClock();
  const rest = [...answers];
  const once = async () => rest.shift() ?? unknown;
  const append = {
    where: "the log",
    id: "mine",
    once,
    last: async () => ({ id: found === null ? "another" : "mine", sequence: found ?? 6 }),
    waits,
  };
  return clock.run(untilKnown(append, clock, 60_000, new AbortController().signal));
}

test("an append is repeated until it is answered", async () => {
  expect(await outcome([unknown, unknown, { kind: "stored", sequence: 7 }])).toBe(7);
});

test("refused at once means another came first, without looking", async () => {
  expect(await outcome([refused], 7)).toBeNull();
});

test("refused after a try without an answer: the record says whether that try was it", async () => {
  expect(await outcome([unknown, refused], 7)).toBe(7);
  expect(await outcome([unknown, refused], null)).toBeNull();
});

test("who waits for room is stored once there is some, and OVERLOADED after his time", async () => {
  expect(await outcome([full, full, { kind: "stored", sequence: 7 }], null, true)).toBe(7);
  expect(await outcome([full, refused], null, true)).toBeNull();
  await expect(outcome(Array<Appended>(1_000).fill(full), null, true)).rejects.toMatchObject({ code: "OVERLOADED" });
});

test("a process that ends tries no further, however long it might", async () => {
  const clock = new VirtualClock();
  let tries = 0;
  const append = {
    where: "the log",
    id: "mine",
    once: async () => {
      tries++;
      return unknown;
    },
    last: async () => null,
    waits: false,
  };
  await expect(clock.run(untilKnown(append, clock, 60_000, AbortSignal.abort()))).rejects.toMatchObject({ code: "UNAVAILABLE" });
  expect(tries).toBe(1);
});

test("no room is OVERLOADED, no answer at all UNAVAILABLE", async () => {
  await expect(outcome([full])).rejects.toMatchObject({ code: "OVERLOADED" });
  await expect(outcome([])).rejects.toMatchObject({ code: "UNAVAILABLE" });
});
