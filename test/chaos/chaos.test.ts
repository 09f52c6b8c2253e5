import { expect, test } from "vitest";
import { testSeed } from "../support/seed.ts";
import { chaos } from "./chaos.ts";
import { report } from "./report.ts";

/** A short storm; `npm run chaos` is the long one. */
test("sixty jobs under kills, cuts and lost caches: every byte as on a quiet day", async () => {
  const seed = testSeed();
  const result = await chaos({ jobs: 60, seed, everyMs: 700, only: /./, clients: 16, patienceMs: 200_000 });
  console.log(`SEED=${seed}\n${report(result)}`);
  expect({ lost: result.lost, faults: result.faults }, `SEED=${seed}, output of the processes in ${result.folder}`).toEqual({
    lost: [],
    faults: [],
  });
  expect(result.verdicts).toHaveLength(60);
}, 300_000);
