import { nativeSums } from "../../../services/shared/engine/kernels.ts";
import type { SegmentStore } from "../../../services/shared/segments/contract.ts";
import { startRedis } from "../../support/redis.ts";
import { redisStore } from "../../support/segments.ts";
import { type Bench, byTurns, secondsOf } from "../bench.ts";
import { type EngineCluster, engineCluster, randomIds } from "../engine-cluster.ts";
import { nowhere } from "../nowhere.ts";

const TOKENS = 65_536;

export const upload: Bench = {
  name: "upload",
  about: "a long prompt prefilled with its segments going to Redis, beside the same without",
  async run(scene) {
    const redis = await startRedis();
    const store = redisStore(redis.url, { pieceBytes: 262_144, sums: nativeSums() });
    let seed = 0;
    const seconds = (to: SegmentStore) => async () => {
      const cluster = await engineCluster();
      try {
        cluster.start("prefill", to);
        await prefilled(cluster, 1_024, ++seed); // pages and code warm
        return await secondsOf(() => prefilled(cluster, scene.tiny ? 4_096 : TOKENS, ++seed));
      } finally {
        await cluster.close();
      }
    };
    try {
      const { figures, yardsticks } = await byTurns(scene, "upload", seconds(store), seconds(nowhere));
      scene.report({
        key: "upload.yardlog.64k",
        unit: "s",
        figures,
        yardstick: { name: "without", figures: yardsticks },
        ratios: figures.map((value, i) => value / yardsticks[i]!),
        goal: { atMost: 1.03 },
      });
    } finally {
      await store.close();
      await redis.stop();
    }
  },
};

const prefilled = async (cluster: EngineCluster, tokens: number, seed: number): Promise<void> =>
  cluster.until(await cluster.submit(randomIds(cluster.engine, tokens, seed), 1), "handed_over");
