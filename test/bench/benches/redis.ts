import { loadConfig } from "../../../services/cli/sizes.ts";
import { createPage, nativeSums } from "../../../services/shared/engine/kernels.ts";
import { kvSizes } from "../../../services/shared/engine/sizes.ts";
import { atMost } from "../../../services/shared/runtime/at-most.ts";
import { loadConfig as settings } from "../../../services/shared/runtime/config.ts";
import type { Memory } from "../../../services/shared/runtime/memory.ts";
import type { RedisStore } from "../../../services/shared/segments/redis-store.ts";
import { LOADS_MAX } from "../../../services/shared/worker/context.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { redisStore, type Sample, sample } from "../../support/segments.ts";
import { type Bench, repeated, type Scene, secondsOf } from "../bench.ts";
import { rawRedis } from "../yardsticks/raw-redis.ts";

const PIECE_BYTES = 262_144;

/** `tokens`: a million, or what the memory of an ordinary machine holds twice. */
const prefixes = [
  { model: "deploy/models/yardlog", tokens: 1_048_576, label: "1m" },
  { model: "v4-flash", tokens: 131_072, label: "128k" },
] as const;

export const redis: Bench = {
  name: "redis",
  about: "a long prefix put into Redis and fetched again, beside plain SET and GET of the same size",
  async run(scene) {
    for (const prefix of prefixes) {
      const server = await startRedis();
      try {
        await ofPrefix(scene, server, prefix);
      } finally {
        await server.stop();
      }
    }
  },
};

async function ofPrefix(scene: Scene, server: RedisServer, { model, tokens, label }: (typeof prefixes)[number]): Promise<void> {
  const { name, config } = loadConfig(model);
  const { segmentBytes, segmentTokens } = kvSizes(config);
  const values = Array.from({ length: (scene.tiny ? tokens / 64 : tokens) / segmentTokens }, (_, i) => sample(`${i}`, segmentBytes));
  const bytes = segmentBytes * values.length;
  const pieceBytes = Math.min(PIECE_BYTES, segmentBytes);
  const rates = await repeated(scene, name, async () => {
    await server.flush();
    const raw = await rawRedis(server.port, pieceBytes, Math.ceil(bytes / pieceBytes));
    await server.flush();
    const store = redisStore(server.url, { pieceBytes: PIECE_BYTES, sums: nativeSums() });
    const put = bytes / (await secondsOf(() => putAll(store, values)));
    const held: Memory[] = [];
    const get = bytes / (await secondsOf(() => getAll(store, values, held)));
    for (const memory of held) memory.release();
    await store.close();
    return { put, get, raw };
  });
  report(
    scene,
    `redis.put.${name}.${label}`,
    "SET",
    pieceBytes,
    rates.map(({ put, raw }) => [put, raw.set]),
  );
  report(
    scene,
    `redis.get.${name}.${label}`,
    "GET",
    pieceBytes,
    rates.map(({ get, raw }) => [get, raw.get]),
  );
}

function report(scene: Scene, key: string, command: string, valueBytes: number, pairs: readonly (readonly [number, number])[]): void {
  scene.report({
    key,
    unit: "B/s",
    figures: pairs.map(([figure]) => figure),
    yardstick: { name: `raw ${command} of ${valueBytes} B`, figures: pairs.map(([, raw]) => raw) },
    ratios: pairs.map(([figure, raw]) => figure / raw),
    goal: { atLeast: 0.8 },
  });
}

/** As many at once as a worker stores. */
const putAll = (store: RedisStore, values: readonly Sample[]): Promise<void> =>
  atMost(settings({}).uploadsMax, values, async ({ key, head, payload }) => {
    if (!(await store.put(key, head, payload))) throw new Error("Redis did not take a segment");
  });

/** Into an engine's memory, where all of it is held, as by a worker that opens a sequence with it. */
async function getAll(store: RedisStore, values: readonly Sample[], held: Memory[]): Promise<void> {
  await atMost(LOADS_MAX, values, async ({ key, head }) => {
    const memory = await store.get(key, head, (bytes) => createPage(bytes, false));
    if (memory === null) throw new Error("a segment was not found again");
    held.push(memory);
  });
}
