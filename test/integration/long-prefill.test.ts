import { expect, test } from "vitest";
import { killsTable, openRig } from "../chaos/long-prefill.ts";
import { alone } from "../support/alone.ts";
import { promptIds } from "../support/model.ts";
import { requestOf } from "../support/workers.ts";

const TOKENS = 200_000;

test("a prefill of 200,000 tokens killed at 10, 50, 90 and 99 % is resumed: a chunk, a segment on its way and a replay are lost, never more", async () => {
  const rig = await openRig({
    LONGSHORE_MODEL_PATH: "deploy/models/yardlog",
    LONGSHORE_ENGINE: "weightless",
    LONGSHORE_WEIGHTLESS_CHUNK_MS: "20",
    LONGSHORE_UPLOADS_MAX: "1", // of the last four chunks
    LONGSHORE_SEGMENT_TOKENS: "256", // behind 99 % there are more of them than a look may let through
    LONGSHORE_CHUNK_TOKENS: "256",
    LONGSHORE_CLAIM_MS: "1500",
  });
  const ids = promptIds(TOKENS);
  const changes = { maxTokens: 50, stopIds: [] };
  const { kills, ids: answer } = await rig.run(ids, changes, [0.1, 0.5, 0.9, 0.99]);
  const { vocabSize, segmentTokens } = rig.opened.engine.info;
  const engine = { vocabSize, segmentTokens, eosId: rig.opened.tokenizer.ids.eos, eosOneIn: 200 };
  await rig.close();
  console.log(killsTable(kills));
  for (const { fraction, stored, resumed, recomputed } of kills) {
    expect(stored, `stored at ${fraction}`).toBeGreaterThanOrEqual(fraction * TOKENS);
    expect(resumed, `resumed at ${fraction}`).toBeGreaterThanOrEqual(stored - 128);
    expect(recomputed, `recomputed at ${fraction}`).toBeLessThanOrEqual(rig.recomputedMax);
  }
  expect(answer).toEqual((await alone(requestOf({ prompt: { ids }, ...changes }), engine)).ids);
});
