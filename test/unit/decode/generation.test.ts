import { setImmediate } from "node:timers/promises";
import { expect, test } from "vitest";
import { type GenerationParts, generate } from "../../../services/decode/generation.ts";
import type { Member, RunningBatch } from "../../../services/decode/running-batch.ts";

/** Generates in a batch that never steps. */
function begun(parts: object) {
  const members: Member[] = [];
  const batch = { join: (member: Member) => members.push(member), leave: () => members.pop(), wake: () => {} };
  const generated = generate(parts as unknown as GenerationParts, batch as unknown as RunningBatch);
  return { generated, members };
}

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
  const { generated, members } = begun(parts);
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
  const { generated, members } = begun(parts);
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

test("a draft ends before an id that ends the answer, with the answer's limit, and with the segment", () => {
  const sampling = { temperature: 0 };
  const eos = 9;
  const drafted = (text: readonly number[], { left = 100, segmentTokens = 64 } = {}) => {
    const parts = {
      job: { signal: new AbortController().signal, check: () => {}, request: { sampling } },
      context: { push: () => {}, keep: () => {}, grow: () => true, ids: Int32Array.from(text.slice(0, -1)), segmentTokens },
      answer: { ids: text.slice(-1), take: () => null, isStop: (id: number) => id === eos, left, endsById: true },
      writer: { full: false, add: () => {} },
      following: null,
      sequence: 1,
      draftMax: 7,
    };
    return [...begun(parts).members[0]!.next()!.draft!.ids];
  };
  const said = [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13];
  expect(drafted([...said, 1, 2, 3])).toEqual([4, 5, 6, 7, 8, 10, 11]);
  expect(drafted([1, 2, 3, 4, 5, eos, 7, 8, 1, 2, 3])).toEqual([4, 5]);
  expect(drafted([1, 2, 3, eos, 5, 6, 1, 2, 3])).toEqual([]);
  expect(drafted([...said, 1, 2, 3], { left: 4 })).toEqual([4, 5, 6]);
  expect(drafted([...said, 1, 2, 3], { left: 1 })).toEqual([]);
  expect(drafted([...said, 1, 2, 3], { segmentTokens: 18 })).toEqual([4, 5, 6]); // 14 have run, and with the token before it 18
  expect(drafted([...said, 1, 2, 3], { segmentTokens: 15 })).toEqual([]);
});
