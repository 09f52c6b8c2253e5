import fc from "fast-check";
import protobuf from "protobufjs/light.js";
import { expect, test } from "vitest";
import { decodeIdsFast } from "../../../../services/shared/bus/token-ids.ts";

/** The message around the ids, decoded by the library alone or with the fast way in it. */
function outer(fast: boolean): protobuf.Type {
  const ids = { fields: { ids: { rule: "repeated", type: "int32", id: 1 } } };
  const root = protobuf.Root.fromJSON({ nested: { Ids: ids, Outer: { fields: { inline: { type: "Ids", id: 4 } } } } });
  if (fast) decodeIdsFast(root.lookupType("Ids"));
  return root.lookupType("Outer");
}

const [general, fast] = [outer(false), outer(true)];

/** What comes of the bytes: the ids, or that they are refused. */
function outcome(type: protobuf.Type, bytes: Uint8Array): number[] | "refused" {
  try {
    const { inline } = type.decode(bytes) as unknown as { inline: { ids: ArrayLike<number> } | null };
    return Array.from(inline?.ids ?? []);
  } catch {
    return "refused";
  }
}

const ids = fc.array(fc.oneof(fc.integer({ min: 0, max: 200_000 }), fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })), { maxLength: 50 });

test("any ids come back as they were, at their right place", () => {
  fc.assert(
    fc.property(ids, (ids) => {
      expect(outcome(fast, general.encode({ inline: { ids } }).finish())).toEqual(ids);
    }),
  );
});

test("ids as encoders write them arrive in the array they are kept in", () => {
  const { inline } = fast.decode(general.encode({ inline: { ids: [7, 300_000] } }).finish()) as unknown as { inline: { ids: unknown } };
  expect(inline.ids).toEqual(Int32Array.of(7, 300_000));
});

test("damaged bytes end as with the general decoder", () => {
  fc.assert(
    fc.property(ids, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 3 }), fc.nat(), (ids, damage, cut) => {
      const whole = general.encode({ inline: { ids } }).finish();
      const bytes = Uint8Array.from(whole.subarray(0, whole.length - (cut % 4)));
      if (bytes.length === 0) return;
      for (const [at, value] of damage) bytes[at % bytes.length] = value;
      expect(outcome(fast, bytes)).toEqual(outcome(general, bytes));
    }),
    { numRuns: 2_000 },
  );
});

test("a field that comes twice is merged, as the wire format asks", () => {
  const part = (ids: number[]) => general.encode({ inline: { ids } }).finish();
  expect(outcome(fast, Buffer.concat([part([1, 2]), part([3])]))).toEqual(outcome(general, Buffer.concat([part([1, 2]), part([3])])));
});
