import { expect, test } from "vitest";
import type { JobEvent } from "../../../../services/shared/bus/events.ts";
import { advance, type Standing, unborn } from "../../../../services/shared/bus/standing.ts";
import { finished, handedOver, progress, tokens } from "../../../support/bus.ts";

const claimed: JobEvent = { type: "claimed", worker: "w" };
const released = (excused: boolean): JobEvent => ({ type: "released", reason: "r", excused });
const after = (...events: readonly JobEvent[]): Standing => events.reduce(advance, unborn);
const attempts = (...events: readonly JobEvent[]): number => after(...events).attempt;

test("claims count as attempts until one of them has stored something, or brought a token", () => {
  expect(attempts(claimed, claimed, claimed)).toBe(3);
  expect(attempts(claimed, claimed, progress(0))).toBe(2); // it is alive, and nothing came of it yet
  expect(attempts(claimed, claimed, progress(1))).toBe(0);
  expect(attempts(claimed, claimed, handedOver, claimed)).toBe(1);
  expect(attempts(claimed, handedOver, claimed, claimed, tokens(1, 5), claimed)).toBe(1);
  expect(attempts(claimed, released(false), claimed)).toBe(2);
  expect(attempts(claimed, released(true), claimed)).toBe(1);
  expect(attempts(claimed, progress(1), released(true))).toBe(0);
});

test("a job is in decode from its hand-over on, until it is sent back, and keeps its tokens", () => {
  const back = after(claimed, handedOver, claimed, tokens(1, 7, 8), { type: "sent_back", reason: "r" });
  expect(back).toEqual({ epoch: 2, phase: "prefill", attempt: 0, tokenCount: 3 });
  expect([claimed, handedOver].reduce(advance, back)).toEqual({ epoch: 3, phase: "decode", attempt: 0, tokenCount: 3 });
  expect(after(claimed, handedOver, claimed, finished).tokenCount).toBe(1);
});

test("tokens follow those in the log: no hole, none twice, and never none", () => {
  const begun = after(claimed, handedOver, claimed);
  for (const event of [tokens(0, 5), tokens(2, 5), tokens(1)]) expect(() => advance(begun, event)).toThrow("cannot follow");
  expect(() => advance(begun, { ...finished, tokens: { first: 2, ids: [5] } })).toThrow("cannot follow");
});
