import fc from "fast-check";
import { expect, test } from "vitest";
import { token, untoken } from "../../../../services/shared/bus/name.ts";
import { names } from "../../../../services/shared/bus/nats/subjects.ts";

test("any text becomes one token of a subject and comes back", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 16 }), (text) => {
      expect(token(text)).toMatch(/^[-\w=]+$/);
      expect(untoken(token(text))).toBe(text);
    }),
  );
  expect(["job-1", "a.b", "", "*", "ä"].map(token)).toEqual(["job-1", "a=2Eb", "=", "=2A", "=C3=A4"]);
  for (const foreign of ["a.b", "=", "50=", "=ZZ", "=C3", "=61", "x".repeat(201), "a=b"]) expect(untoken(foreign), foreign).toBe("");
});

test("what cannot be a token or a prefix is refused", () => {
  expect(() => token("x".repeat(201))).toThrow(expect.objectContaining({ code: "INVALID_REQUEST" }));
  for (const prefix of ["", "A", "a.b", "1", "a b", "a".repeat(41)]) {
    expect(() => names(prefix), prefix).toThrow(expect.objectContaining({ code: "INVALID_REQUEST" }));
  }
});
