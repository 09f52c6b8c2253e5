import { expect, test } from "vitest";
import { type Storage, storageTrouble } from "../../../../services/shared/bus/storage.ts";

const well: Storage = {
  version: "2.9.10",
  countedBytes: 900e6,
  heldBytes: 900e6,
  limitBytes: null,
  grantedBytes: 9e9,
  missing: [],
  missingBytes: 1e9,
  refusal: null,
};

test.each([
  ["holds what it counts", {}],
  ["counts less than it holds: some went while it was asked", { countedBytes: 800e6 }],
  ["counts a tenth of what its streams may grow to beside what they hold", { countedBytes: 1.9e9 }],
  ["counts a tenth of its limit beside what they hold", { countedBytes: 2.9e9, limitBytes: 20e9 }],
])("nothing is wrong with a server that %s", (_, changes) => {
  expect(storageTrouble({ ...well, ...changes })).toBeNull();
});

test("a server that counts what nobody holds is to be restarted, and which one would not do so is said where it is old", () => {
  expect(storageTrouble({ ...well, countedBytes: 2e9, heldBytes: 4_000 })).toBe(
    "nats-server 2.9.10 counts 2.000 GB as stored, its streams hold 4000 B: it goes on counting what was deleted, and will refuse everything once that " +
      "reaches max_file_store. Restart it: nothing is lost, and it counts anew; from 2.9.15 on this does not happen",
  );
  const newer = storageTrouble({ ...well, version: "2.10.2", countedBytes: 2e9, limitBytes: 2e9, refusal: "full" });
  expect(newer).toMatch(/^nats-server 2\.10\.2 counts .* and now refuses everything\. Restart it: .* counts anew$/);
});

test("a server that is full of what it holds says so in its own words", () => {
  expect(storageTrouble({ ...well, refusal: "raise its max_file_store" })).toBe("raise its max_file_store");
});

test("an account that holds nine tenths of what it may is told of before it is full", () => {
  expect(storageTrouble({ ...well, limitBytes: 1e9 })).toBe(
    "900.0 MB of the 1.000 GB that the account may store are taken: raise its max_file before everything is refused",
  );
  expect(storageTrouble({ ...well, limitBytes: 1.01e9 })).toBeNull();
});
