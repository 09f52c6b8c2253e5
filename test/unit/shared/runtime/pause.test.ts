import { getEventListeners } from "node:events";
import { expect, test } from "vitest";
import { linked, Pause } from "../../../../services/shared/runtime/pause.ts";
import { VirtualClock } from "../../../support/virtual-clock.ts";

test("a linked signal aborts with the first of its signals, for its reason", () => {
  const [gone, stopping] = [new AbortController(), new AbortController()];
  const { signal } = linked(gone.signal, stopping.signal);
  expect(signal.aborted).toBe(false);
  stopping.abort(new Error("shutting down"));
  gone.abort(new Error("the client left"));
  expect(signal.reason).toEqual(new Error("shutting down"));
  expect(linked(stopping.signal).signal.reason).toEqual(new Error("shutting down"));
});

test("one that is released leaves nothing behind in a signal that lives on", () => {
  const stopping = new AbortController();
  const { signal, release } = linked(new AbortController().signal, stopping.signal);
  expect(getEventListeners(stopping.signal, "abort")).toHaveLength(1);
  release();
  expect(getEventListeners(stopping.signal, "abort")).toHaveLength(0);
  stopping.abort();
  expect(signal.aborted).toBe(false);
});

test("a wait that nobody waits for any more takes its end from no later one", async () => {
  const clock = new VirtualClock();
  const pause = new Pause();
  const passed = async () => {
    const left = pause.wait(clock, 10); // whoever began it had another reason to go on
    const wait = pause.wait(clock, 1_000);
    await left;
    pause.end();
    await wait;
    return clock.monotonicMs();
  };
  expect(await clock.run(passed())).toBe(10);
});
