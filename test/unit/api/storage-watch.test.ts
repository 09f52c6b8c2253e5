import { pino } from "pino";
import { expect, test } from "vitest";
import { StorageWatch } from "../../../services/api/reconciler/storage-watch.ts";
import type { Kept, Storage } from "../../../services/shared/bus/storage.ts";
import { VirtualClock } from "../../support/virtual-clock.ts";

const disk: Kept = {
  countedBytes: 1_000,
  heldBytes: 1_000,
  limitBytes: 2e9,
  grantedBytes: 1e9,
  unboundedBytes: 0,
  missingBytes: 0,
  refusal: null,
  largest: [],
};
const well: Storage = { version: "2.9.10", servers: 1, disk, memory: disk, missing: [] };
const losing = { ...well, disk: { ...disk, countedBytes: 1e9 } };
const full = { ...losing, disk: { ...losing.disk, refusal: "no room" } };
const both = { ...full, memory: { ...disk, countedBytes: 1.9e9, heldBytes: 1.9e9 } };

test("what the record's server lost is told once until it is over or worse, for disk and memory apart, and asked for every ten minutes", async () => {
  const lines: string[] = [];
  const log = pino({ base: null }, { write: (line: string) => void lines.push((JSON.parse(line) as { msg: string }).msg) });
  const clock = new VirtualClock();
  let answers: readonly (Storage | Error | null)[] = [losing, losing, new Error("not allowed"), losing, well, losing, full, both, null];
  const storage = async () => {
    const [answer = null, ...rest] = answers;
    answers = rest;
    if (answer instanceof Error) throw answer;
    return answer;
  };
  const watch = new StorageWatch({ storage }, clock, log);
  const told: number[] = [];
  for (let look = 0; look < 9; look++) {
    await watch.look();
    await watch.look(); // too soon
    told.push(lines.length);
    await clock.run(clock.sleep(600_000));
  }
  expect([told, answers.length]).toEqual([[1, 1, 1, 1, 1, 2, 3, 4, 4], 0]);
  expect(lines[2]).toContain("now refuses everything");
  expect(lines[3]).toMatch(/^the record runs out of room: 1\.900 GB .* in memory .* max_mem/);
  expect(lines[0]).toMatch(/^the record runs out of room: nats-server 2\.9\.10 counts 1\.000 GB .* Restart it/);
});
