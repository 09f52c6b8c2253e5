import { expect, test } from "vitest";
import { Making } from "../../../services/api/admission/making.ts";
import type { Clock } from "../../../services/shared/runtime/clock.ts";
import { systemClock } from "../../../services/shared/runtime/clock.ts";

const stays = () => () => {};

/** A clock whose time does not pass by itself, and what waits on it. */
function still() {
  const timers = new Set<() => void>();
  const clock: Clock = {
    ...systemClock,
    after: (_, act) => {
      timers.add(act);
      return () => void timers.delete(act);
    },
  };
  return { making: new Making(clock), timers };
}

test("all who come with a key wait until its jobs are there, and nobody where none are made", async () => {
  const { making, timers } = still();
  await making.wait("a", stays);
  const [end, endOther] = [making.begin("a"), making.begin("b")];
  const waits = Promise.all([making.wait("a", stays), making.wait("a", stays)]);
  expect([timers.size, making.has("a")]).toEqual([2, true]);
  endOther();
  expect(timers.size).toBe(2);
  end();
  await waits;
  expect([timers.size, making.has("a")]).toEqual([0, false]);
});

test("who leaves, or has waited long enough, waits no longer, and of those who come no more than 64 wait", async () => {
  const { making, timers } = still();
  making.begin("a");
  let leave = () => {};
  const left = making.wait("a", (act) => {
    leave = act;
    return () => {};
  });
  leave();
  await left;
  const waits = Array.from({ length: 64 }, () => making.wait("a", stays));
  await making.wait("a", stays); // there is no room for one more
  expect(timers.size).toBe(64);
  for (const over of timers) over();
  await Promise.all(waits);
  const again = making.wait("a", stays);
  expect(timers.size).toBe(1);
  for (const over of timers) over();
  await again;
});
