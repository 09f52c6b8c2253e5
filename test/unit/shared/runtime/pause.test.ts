import { getEventListeners } from "node:events";
import { expect, test } from "vitest";
import { linked } from "../../../../services/shared/runtime/pause.ts";

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
