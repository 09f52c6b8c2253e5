import { nativeSums } from "../../../services/shared/engine/kernels.ts";
import type { SegmentStore } from "../../../services/shared/segments/contract.ts";
import { startRedis } from "../../support/redis.ts";
import { redisStore } from "../../support/segments.ts";
import { type Bench, repeated, type Scene, secondsOf } from "../bench.ts";
import { type EngineCluster, engineCluster, randomIds } from "../engine-cluster.ts";
import { nowhere } from "../nowhere.ts";

const TOKENS = 16_384;
/** Prompts of each kind in one measurement, by turns: a host that changes its speed within seconds meets both. */
const PARTS = 4;

export const upload: Bench = {
  name: "upload",
  about: "long prompts prefilled with their segments going to Redis, beside the same without",
  async run(scene) {
    const redis = await startRedis();
    const store = redisStore(redis.url, { pieceBytes: 262_144, sums: nativeSums() });
    try {
      await beside(scene, { with: await prefilling(store), without: await prefilling(nowhere) });
    } finally {
      await store.close();
      await redis.stop();
    }
  },
};

async function beside(scene: Scene, clusters: Record<(typeof kinds)[number], EngineCluster>): Promise<void> {
  const tokens = scene.tiny ? TOKENS / 8 : TOKENS;
  let seed = 0;
  try {
    const turns = await repeated(scene, "upload", async () => {
      const seconds = { with: 0, without: 0 };
      for (let part = 0; part < PARTS; part++) {
        const order = part % 2 === 0 ? kinds : kinds.toReversed();
        for (const kind of order) seconds[kind] += await secondsOf(() => prefilled(clusters[kind], tokens, ++seed));
      }
      return seconds;
    });
    scene.report({
      key: "upload.yardlog.4-of-16k",
      unit: "s",
      figures: turns.map((seconds) => seconds.with),
      yardstick: { name: "without", figures: turns.map((seconds) => seconds.without) },
      ratios: turns.map((seconds) => seconds.with / seconds.without),
      goal: { atMost: 1.03 },
    });
  } finally {
    for (const cluster of Object.values(clusters)) await cluster.close();
  }
}

const kinds = ["with", "without"] as const;

/** A cluster whose prefill worker, its code and its pages are warm. */
async function prefilling(store: SegmentStore): Promise<EngineCluster> {
  const cluster = await engineCluster();
  cluster.start("prefill", store);
  await prefilled(cluster, 1_024, 0);
  return cluster;
}

const prefilled = async (cluster: EngineCluster, tokens: number, seed: number): Promise<void> =>
  cluster.until(await cluster.submit(randomIds(cluster.engine, tokens, seed), 1), "handed_over");
