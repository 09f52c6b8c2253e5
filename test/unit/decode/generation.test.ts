import { setImmediate } from "node:timers/promises";
import { expect, test } from "vitest";
import { type GenerationParts, generate } from "../../../services/decode/generation.ts";
import type { Member, RunningBatch } from "../../../services/decode/running-batch.ts";

test("a job that is interrupted within a step leaves once the step is done, so that its context says what has run", async () => {
  const interrupting = new AbortController();
  const { signal } = interrupting;
  const [ids, ran, closed]: number[][] = [[5], [], []];
  const parts = {
    job: { signal, check: () => signal.throwIfAborted(), request: { sampling: { temperature: 0 } } },
    context: { push: (id: number) => ran!.push(id), keep: () => {} },
    answer: { ids, take: () => null, isStop: () => false },
    writer: { full: false, add: () => {} },
    following: { allowed: async () => null, close: () => closed!.push(0) },
  };
  const members: Member[] = [];
  const batch = { join: (member: Member) => members.push(member), leave: () => members.pop(), wake: () => {} };
  const generated = generate(parts as unknown as GenerationParts, batch as unknown as RunningBatch);
  const [member] = members;
  await member!.soon;
  expect(member!.next()).toMatchObject({ token: 5 });
  interrupting.abort(new Error("cancelled"));
  await setImmediate();
  expect([members.length, closed]).toEqual([1, []]);
  member!.deliver({ token: 6, sealed: [] });
  await expect(generated).rejects.toThrow("cancelled");
  expect([members.length, ran, closed]).toEqual([0, [5], [0]]);
});
