import { expect, test } from "vitest";
import { Following } from "../../../../services/shared/engine/grammar/following.ts";

const THOUGHT_ENDS = 5;
const VOCAB_SIZE = 70;

/** What the thread is asked, answered with a mask. */
function followed(instead?: readonly number[], blank?: number) {
  const asked: object[] = [];
  const following = new Following(
    { schema: "{}", after: THOUGHT_ENDS, ...(instead && { instead }), ...(blank && { blank }) },
    VOCAB_SIZE,
    async (request) => {
      asked.push(request);
      return request.more ? [] : Array.from({ length: 1 + (request.draft?.length ?? 0) }, () => Uint32Array.of(1, 0, 0));
    },
    () => {},
  );
  return { following, asked };
}

test("what stands behind the thought is held to the schema, wherever the thought ends and however the answer grows", async () => {
  const { following, asked } = followed();
  expect(await following.allowed([])).toBeNull();
  expect(await following.allowed([1, 2])).toBeNull();
  expect(await following.allowed([1, 2])).toBeNull();
  expect(await following.allowed([1, 2, 3])).toBeNull();
  expect(await following.allowed([1, 2, 3, THOUGHT_ENDS])).not.toBeNull();
  expect(await following.allowed([1, 2, 3, THOUGHT_ENDS, 4, THOUGHT_ENDS])).not.toBeNull();
  expect(asked).toEqual([
    { kind: "open", schema: "{}", ids: [] },
    { kind: "next", ids: [4, THOUGHT_ENDS] },
  ]);
  const later = followed();
  expect(await later.following.allowed([1, THOUGHT_ENDS, 4])).not.toBeNull(); // a take-over
  expect(later.asked).toEqual([{ kind: "open", schema: "{}", ids: [4] }]);
});

test("an answer may begin as a call instead, from its first id to its last, and is free behind that; a value goes on being one", async () => {
  const instead = [40, 65, 31];
  const { following, asked } = followed(instead);
  expect(await following.allowed([1])).toBeNull();
  expect(await following.allowed([1, THOUGHT_ENDS])).toEqual(Uint32Array.of(1, 1 << 8, 0)); // a value, or the first of them
  expect(await following.allowed([1, THOUGHT_ENDS, 40])).toEqual(Uint32Array.of(0, 0, 2));
  expect(await following.allowed([1, THOUGHT_ENDS, 40, 65])).toEqual(Uint32Array.of(2 ** 31, 0, 0));
  for (const more of [[], [2], [2, THOUGHT_ENDS, 40]]) expect(await following.allowed([1, THOUGHT_ENDS, ...instead, ...more])).toBeNull();
  expect(asked).toEqual([{ kind: "open", schema: "{}", ids: [] }]);

  const later = followed(instead); // a take-over, amid either
  expect(await later.following.allowed([THOUGHT_ENDS, 40])).toEqual(Uint32Array.of(0, 0, 2));
  const value = followed(instead);
  expect(await value.following.allowed([THOUGHT_ENDS, 0])).toEqual(Uint32Array.of(1, 0, 0));
  expect(await value.following.allowed([THOUGHT_ENDS, 0, 40])).toEqual(Uint32Array.of(1, 0, 0));
  expect([later.asked.length, value.asked.length]).toEqual([0, 2]);
});

test("whitespace that a call begins with may come before a value as well, and is no part of it", async () => {
  const instead = [40, 41, 65, 31];
  const { following, asked } = followed(instead, 2);
  const [first, second, tag] = [Uint32Array.of(1, 1 << 8, 0), Uint32Array.of(1, 1 << 9, 0), Uint32Array.of(1, 0, 2)];
  for (const [ids, allowed] of [
    [[], first],
    [[40], second],
    [[40, 41], tag],
    [[40, 41, 65], Uint32Array.of(2 ** 31, 0, 0)],
  ] as const)
    expect(await following.allowed([THOUGHT_ENDS, ...ids])).toEqual(allowed);
  expect(await following.allowed([THOUGHT_ENDS, ...instead])).toBeNull();
  expect(asked[0]).toEqual({ kind: "open", schema: "{}", ids: [] });
  expect(asked.slice(1), "the thread hears of nothing").toEqual(Array(2).fill({ kind: "next", ids: [] }));

  for (const begins of [[], [40], [40, 41]]) {
    const value = followed(instead, 2);
    await value.following.allowed([THOUGHT_ENDS, ...begins.slice(1)]); // several may come between two calls
    expect(await value.following.allowed([THOUGHT_ENDS, ...begins, 0])).toEqual(Uint32Array.of(1, 0, 0));
    expect(await value.following.allowed([THOUGHT_ENDS, ...begins, 0, 40])).toEqual(Uint32Array.of(1, 0, 0));
    expect(value.asked.slice(1)).toEqual([
      { kind: "next", ids: [0] },
      { kind: "next", ids: [40] },
    ]);
    const later = followed(instead, 2); // a take-over
    expect(await later.following.allowed([THOUGHT_ENDS, ...begins, 0, 40])).toEqual(Uint32Array.of(1, 0, 0));
    expect(later.asked).toEqual([{ kind: "open", schema: "{}", ids: [0, 40] }]);
  }
});

test("a long answer is told of bit by bit, and from the beginning to a thread that does not know it; not for ever", async () => {
  const ids = Array.from({ length: 600 }, (_, i) => i % 70);
  for (const [forgets, first] of [
    [1, 256],
    [4, null],
  ] as const) {
    const asked: number[][] = [];
    let forgotten = 0;
    const following = new Following(
      { schema: "{}" },
      VOCAB_SIZE,
      async ({ kind, ids, more }) => {
        if (kind === "next" && forgotten < forgets) {
          forgotten++;
          return null;
        }
        if (kind === "open") asked.length = 0;
        asked.push([...ids]);
        return more ? [] : [Uint32Array.of(1, 0, 0)];
      },
      () => {},
    );
    const allowed = following.allowed(ids);
    if (first === null) await expect(allowed).rejects.toMatchObject({ code: "UNAVAILABLE" });
    else {
      expect(await allowed).toEqual(Uint32Array.of(1, 0, 0));
      expect(asked.map(({ length }) => length)).toEqual([first, 256, 88]);
      expect(asked.flat()).toEqual(ids);
    }
  }
});

test("behind a draft all may follow while the answer thinks or calls; behind one of a value what the thread says; what decides between these ends it", async () => {
  const instead = [40, 65, 31];
  const { following, asked } = followed(instead);
  expect(await following.ahead([1], [2, 3])).toEqual([null, null, null]);
  expect(await following.ahead([1], [2, THOUGHT_ENDS, 3])).toEqual([null, null]);
  expect(await following.ahead([1, THOUGHT_ENDS], [2, 3])).toEqual([Uint32Array.of(1, 1 << 8, 0)]);
  expect(await following.ahead([1, THOUGHT_ENDS, 40], [65, 31])).toEqual([Uint32Array.of(0, 0, 2)]);
  expect(await following.ahead([1, THOUGHT_ENDS, ...instead], [2, 3])).toEqual([null, null, null]);
  const value = followed();
  expect(await value.following.ahead([THOUGHT_ENDS, 0], [2, 3])).toEqual(Array(3).fill(Uint32Array.of(1, 0, 0)));
  expect(await value.following.ahead([THOUGHT_ENDS, 0, 2, 4], [5])).toHaveLength(2);
  expect(value.asked).toEqual([
    { kind: "open", schema: "{}", ids: [0], draft: [2, 3] },
    { kind: "next", ids: [2, 4], draft: [5] },
  ]);
  expect(asked).toHaveLength(1);
});

test("each id of a long thought is looked at once", async () => {
  const { following } = followed();
  const ids: number[] = [];
  let looks = 0;
  const watched = new Proxy(ids, {
    get(target, key, receiver) {
      if (/^\d+$/.test(String(key))) looks++;
      return Reflect.get(target, key, receiver);
    },
  });
  for (let token = 10; token < 1_010; token++) {
    ids.push(token);
    expect(await following.allowed(watched)).toBeNull();
  }
  expect(looks).toBe(1_000);
});
