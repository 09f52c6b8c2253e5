import { setImmediate } from "node:timers/promises";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import type { Engine } from "../../../services/shared/engine/engine.ts";
import { nativeSums } from "../../../services/shared/engine/kernels.ts";
import { overriding } from "../../support/overriding.ts";
import { startRedis } from "../../support/redis.ts";
import { redisStore } from "../../support/segments.ts";
import { type Bench, byTurns, type Scene } from "../bench.ts";
import { type EngineCluster, engineCluster, randomIds } from "../engine-cluster.ts";
import { rawRedis } from "../yardsticks/raw-redis.ts";

const TOKENS = 262_144;
/** Starts for each measurement that others repeat: one takes no longer than the host is fast or slow at a time. */
const TURNS = 8;

/** From the message in the hands of a decode worker to the first step of its sequence, with the whole prompt in Redis and nothing in the worker. */
export const decodeStart: Bench = {
  name: "decode-start",
  about: "a decode worker takes up a long cached prompt, beside fetching its bytes from Redis",
  async run(scene) {
    const redis = await startRedis();
    const cluster = await engineCluster();
    const stores = [0, 1].map(() => redisStore(redis.url, { pieceBytes: 262_144, sums: nativeSums() }));
    const watch = new Stopwatch();
    try {
      cluster.start("prefill", stores[0]!);
      cluster.start("decode", stores[1]!, { engine: watch.engine(cluster.engine), bus: watch.bus(cluster.bus) });
      await measure(scene, cluster, redis.port, watch);
    } finally {
      await cluster.close();
      await Promise.all(stores.map((store) => store.close()));
      await redis.stop();
    }
  },
};

async function measure(scene: Scene, cluster: EngineCluster, port: number, watch: Stopwatch): Promise<void> {
  const { segmentTokens, segmentBytes } = cluster.engine.info;
  const ids = randomIds(cluster.engine, scene.tiny ? 8_192 : TOKENS, 1);
  const bytes = (ids.length / segmentTokens) * segmentBytes;
  scene.say("prefill");
  await answered(cluster, ids);
  const figure = async () => {
    await answered(cluster, ids);
    return watch.seconds;
  };
  const raw = async () => bytes / (await rawRedis(port, segmentBytes, ids.length / segmentTokens)).get;
  const { figures, yardsticks } = await byTurns({ ...scene, repeats: TURNS * scene.repeats }, "decode-start", figure, raw);
  scene.report({
    key: "decode-start.yardlog.256k",
    unit: "s",
    figures,
    yardstick: { name: `raw GET of ${bytes} B`, figures: yardsticks },
    ratios: figures.map((value, i) => value / yardsticks[i]!),
    goal: { atMost: 1.3 },
  });
}

const answered = async (cluster: EngineCluster, ids: Int32Array): Promise<void> => cluster.until(await cluster.submit(ids, 2), "finished");

/** Runs from a decode message pulled to the next step asked for. */
class Stopwatch {
  seconds = 0;
  #startMs = 0;

  bus(bus: Bus): Bus {
    const pull: Bus["queue"]["pull"] = async (...args) => {
      const message = await bus.queue.pull(...args);
      await setImmediate(); // the prefill worker, elsewhere another process, puts back what it had on loan
      this.#startMs = performance.now();
      return message;
    };
    return overriding(bus, { queue: overriding(bus.queue, { pull }) });
  }

  engine(engine: Engine): Engine {
    const step: Engine["step"] = (batch) => {
      this.seconds = (performance.now() - this.#startMs) / 1_000;
      return engine.step(batch);
    };
    return overriding(engine, { step });
  }
}
