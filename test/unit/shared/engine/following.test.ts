import { expect, test } from "vitest";
import { Following } from "../../../../services/shared/engine/grammar/following.ts";

const THOUGHT_ENDS = 5;

/** What the thread is asked, answered with a mask. */
function followed() {
  const asked: object[] = [];
  const following = new Following(
    { schema: "{}", after: THOUGHT_ENDS },
    async (request) => {
      asked.push(request);
      return new Uint32Array(1);
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
