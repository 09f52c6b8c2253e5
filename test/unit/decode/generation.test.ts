import { setImmediate } from "node:timers/promises";
import { expect, test } from "vitest";
import { type GenerationParts, generate } from "../../../services/decode/generation.ts";
import type { Member, RunningBatch } from "../../../services/decode/running-batch.ts";

test("an answer with penalties is told in its first step alone, as it was taken over: what a step sends does not grow with it", async () => {
  const sampling = { temperature: 0, frequencyPenalty: 0.5 };
  const ids = Array.from({ length: 30_000 }, (_, i) => i % 9);
  const parts = {
    job: { signal: new AbortController().signal, check: () => {}, request: { sampling } },
    context: { push: () => {}, keep: () => {}, grow: () => true },
    answer: { ids, take: (id: number) => (ids.push(id) < 30_003 ? null : "length"), isStop: () => false },
    draftMax: 0,
    writer: { full: false, add: () => {} },
    following: null,
    sequence: 1,
  };
  const members: Member[] = [];
  const batch = { join: (member: Member) => members.push(member), leave: () => members.pop(), wake: () => {} };
  const generated = generate(parts as unknown as GenerationParts, batch as unknown as RunningBatch);
  const [member] = members;
  expect(member!.next()?.input).toEqual({ sequence: 1, token: 2, sample: sampling, answer: Int32Array.from(ids) });
  for (const token of [40, 41]) {
    member!.deliver({ drawn: [{ token }], sealed: [] });
    expect(member!.next()?.input).toEqual({ sequence: 1, token, sample: sampling });
  }
  member!.deliver({ drawn: [{ token: 42 }], sealed: [] });
  expect(await generated).toBe("length");
});

test("a job that is interrupted within a step leaves once the step is done, so that its context says what has run", async () => {
  const interrupting = new AbortController();
  const { signal } = interrupting;
  const [ids, ran, closed]: number[][] = [[5], [], []];
  const parts = {
    job: {
      ...{ signal, check: () => signal.throwIfAborted(), request: { sampling: { temperature: 0 } } },
      keptWhile: (work: Promise<unknown>) => work,
    },
    context: { push: (id: number) => ran!.push(id), keep: () => {}, grow: () => true },
    answer: { ids, take: () => null, isStop: () => false },
    writer: { full: false, add: () => {} },
    following: { ahead: async () => [null], close: () => closed!.push(0) },
    draftMax: 0,
  };
  const members: Member[] = [];
  const batch = { join: (member: Member) => members.push(member), leave: () => members.pop(), wake: () => {} };
  const generated = generate(parts as unknown as GenerationParts, batch as unknown as RunningBatch);
  const [member] = members;
  await member!.soon;
  expect(member!.next()?.input).toMatchObject({ token: 5 });
  interrupting.abort(new Error("cancelled"));
  await setImmediate();
  expect([members.length, closed]).toEqual([1, []]);
  member!.deliver({ drawn: [{ token: 6 }], sealed: [] });
  await expect(generated).rejects.toThrow("cancelled");
  expect([members.length, ran, closed]).toEqual([0, [5], [0]]);
});
