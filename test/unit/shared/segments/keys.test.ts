import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { boundaryKey, type KeySpace } from "../../../../services/shared/segments/keys.ts";
import { segmentKeys } from "../../../support/segments.ts";
import { ids, keys, space } from "./example.ts";

const tokens = fc.array(fc.integer({ min: 0, max: 200_000 }), { maxLength: 40 }).map((list) => Int32Array.from(list));

test("the keys of the worked example are those of docs/formats.md, which another language computed", () => {
  const text = readFileSync("docs/formats.md", "utf8");
  const all = [...keys, boundaryKey(space, keys[1]!, ids.subarray(8), 10), boundaryKey(space, null, ids.subarray(0, 2), 2)];
  expect(all).toHaveLength(4);
  for (const key of all) expect(text).toContain(`\`${key}\``);
});

test("same tokens after the same prefix have the same keys, up to the first that differs and never after it", () => {
  fc.assert(
    fc.property(tokens, tokens, fc.integer({ min: 1, max: 5 }), (a, b, segmentTokens) => {
      const [left, right] = [segmentKeys(space, a, segmentTokens), segmentKeys(space, b, segmentTokens)];
      const differs = a.findIndex((id, index) => id !== b[index]);
      const shared = Math.floor((differs < 0 ? Math.min(a.length, b.length) : differs) / segmentTokens);
      expect(left.slice(0, shared)).toEqual(right.slice(0, shared));
      const rest = new Set(left.slice(shared));
      expect(right.slice(shared).filter((key) => rest.has(key))).toEqual([]);
    }),
  );
});

test("keys are the same wherever the ids lie in memory", () => {
  fc.assert(
    fc.property(tokens, fc.integer({ min: 1, max: 5 }), (a, segmentTokens) => {
      const elsewhere = Int32Array.of(7, ...a).subarray(1);
      expect(segmentKeys(space, elsewhere, segmentTokens)).toEqual(segmentKeys(space, a, segmentTokens));
    }),
  );
});

test("every field of the space changes every key", () => {
  const others: Partial<KeySpace>[] = [
    { fingerprint: new Uint8Array(32) },
    { layout: "exampl" },
    { firstLayer: 1 },
    { layerCount: 4 },
    { salt: "tenant-b" },
    { salt: "" },
    { path: "" },
    { path: "avx512" },
    { salt: "", path: "tenant-a" },
    { layout: "", salt: "exampletenant-a" },
  ];
  const all = [space, ...others.map((change) => ({ ...space, ...change }))].flatMap((one) => [
    ...segmentKeys(one, ids, 4),
    boundaryKey(one, null, ids.subarray(0, 2), 2),
  ]);
  expect(new Set(all).size).toBe(all.length);
});

test("a boundary is never a segment, and knows its position", () => {
  const tail = ids.subarray(0, 4);
  const all = [keys[0], boundaryKey(space, null, tail, 4), boundaryKey(space, null, tail, 5), boundaryKey(space, keys[0]!, tail, 4)];
  expect(new Set(all).size).toBe(4);
});
