import { expect, test } from "vitest";
import { choosePath, slowPathWarning } from "../../../../services/shared/engine/kernels.ts";

const runs = (name: string) => ({ name, available: true, reason: "" });
const lacks = (name: string, reason: string) => ({ name, available: false, reason });
const paths = [runs("reference"), runs("avx2"), lacks("amx", "the processor has no tiles")];

test("the best kernel path that can run here is taken where none is named", () => {
  expect(choosePath(undefined, paths)).toBe("avx2");
  expect(choosePath("reference", paths)).toBe("reference");
});

test("whoever runs the reference path without having chosen it is told what the processor lacks, and what to run", () => {
  const lesser = [runs("reference"), lacks("avx2", "the processor has no FMA"), lacks("amx", "the processor has no tiles")];
  const told = slowPathWarning("reference", () => lesser, "Old Core 2");
  expect(told).toContain(
    "on Old Core 2: avx2 (the processor has no FMA), amx (the processor has no tiles). Build them on this machine (npm run build:kernels)",
  );
  for (const path of ["avx2", "none"]) expect(slowPathWarning(path, () => expect.fail("nobody asks for them"), "any")).toBeNull();
});

test("a kernel path that was named and cannot run is the configuration's fault: coming again mends nothing", () => {
  const faults = [
    ["amx", "kernel path amx cannot run here (the processor has no tiles): choose one of reference, avx2"],
    ["abacus", "there is no kernel path abacus: choose one of reference, avx2"],
  ] as const;
  for (const [name, message] of faults)
    expect(() => choosePath(name, paths)).toThrow(expect.objectContaining({ code: "INVALID_REQUEST", message }));
});

test("a machine that no kernel path can run on is not the configuration's fault", () => {
  expect(() => choosePath(undefined, [lacks("reference", "no")])).toThrow(expect.objectContaining({ code: "UNAVAILABLE" }));
});
