import { expect, test } from "vitest";
import { type Kept, type Storage, storageTroubles } from "../../../../services/shared/bus/storage.ts";

const disk: Kept = {
  countedBytes: 900e6,
  heldBytes: 900e6,
  limitBytes: null,
  grantedBytes: 9e9,
  unboundedBytes: 0,
  missingBytes: 1e9,
  refusal: null,
  largest: [],
};
const memory: Kept = { ...disk, countedBytes: 4_000, heldBytes: 4_000, grantedBytes: 16e6, missingBytes: 0 };
const well: Storage = { version: "2.9.10", servers: 1, disk, memory, missing: [] };

const onDisk = (changes: Partial<Kept>, version = well.version): Storage => ({ ...well, version, disk: { ...disk, ...changes } });
const inMemory = (changes: Partial<Kept>): Storage => ({ ...well, memory: { ...memory, ...changes } });
const texts = (storage: Storage) => storageTroubles(storage).map(({ text }) => text);

test.each([
  ["holds what it counts", {}],
  ["counts less than it holds: some went while it was asked", { countedBytes: 800e6 }],
  ["counts a tenth of what its streams may grow to beside what they hold", { countedBytes: 1.9e9 }],
  ["counts a tenth of its limit beside what they hold", { countedBytes: 2.9e9, limitBytes: 20e9 }],
  ["counts a tenth of what is held without a bound", { countedBytes: 1.2e9, grantedBytes: 0, missingBytes: 0, unboundedBytes: 3e9 }],
])("nothing is wrong with a server that %s", (_, changes) => {
  expect(storageTroubles(onDisk(changes))).toEqual([]);
});

test("a server that counts what nobody holds is to be restarted, and which one would not do so is said where it is old", () => {
  expect(texts(onDisk({ countedBytes: 2e9, heldBytes: 4_000 }))).toEqual([
    "nats-server 2.9.10 counts 2.000 GB as stored, its streams hold 4000 B: it goes on counting what was deleted, and will refuse everything once that " +
      "reaches max_file_store. Restart it: nothing is lost, and it counts anew; from 2.9.15 on this does not happen",
  ]);
  const [newer] = texts(onDisk({ countedBytes: 2e9, limitBytes: 2e9, refusal: "full" }, "2.10.2"));
  expect(newer).toMatch(/^nats-server 2\.10\.2 counts .* and now refuses everything\. Restart it: .* counts anew$/);
});

test("a server that is full of what it holds says so in its own words, and who holds it", () => {
  const largest = [
    { name: "OTHER", heldBytes: 2e9, bytesMax: null },
    { name: "LONGSHORE_LOG", heldBytes: 1e9, bytesMax: 4e9 },
  ];
  expect(storageTroubles(onDisk({ refusal: "raise its max_file_store", largest }))).toEqual([
    {
      kind: "disk",
      refuses: true,
      text:
        "raise its max_file_store. Most on disk is held by OTHER 2.000 GB (it has no max_bytes and may take all there is), " +
        "LONGSHORE_LOG 1.000 GB of 4.000 GB",
    },
  ]);
});

test("an account that holds nine tenths of what it may is told of before it is full, on disk or in memory", () => {
  expect(texts(onDisk({ limitBytes: 1e9 }))).toEqual([
    "900.0 MB of the 1.000 GB that the account may keep on disk are taken: raise its max_file before everything there is refused",
  ]);
  expect(storageTroubles(onDisk({ limitBytes: 1.01e9 }))).toEqual([]);
  const largest = [{ name: "OTHER", heldBytes: 60e6, bytesMax: null }];
  expect(storageTroubles(inMemory({ countedBytes: 60e6, heldBytes: 60e6, limitBytes: 64e6, largest }))).toEqual([
    {
      kind: "memory",
      refuses: false,
      text:
        "60.00 MB of the 64.00 MB that the account may keep in memory are taken: raise its max_mem before everything there is refused. " +
        "Most in memory is held by OTHER 60.00 MB (it has no max_bytes and may take all there is)",
    },
  ]);
});
