import { findModelConfig } from "../../../services/cli/sizes.ts";
import { createPage, nativeSums } from "../../../services/shared/engine/kernels.ts";
import { kvSizes } from "../../../services/shared/engine/sizes.ts";
import { atMost } from "../../../services/shared/runtime/at-most.ts";
import { loadConfig as settings } from "../../../services/shared/runtime/config.ts";
import type { Memory } from "../../../services/shared/runtime/memory.ts";
import type { RedisStore } from "../../../services/shared/segments/redis/store.ts";
import { LOADS_MAX } from "../../../services/shared/worker/context.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { redisStore, type Sample, sample } from "../../support/segments.ts";
import { type Bench, repeated, type Scene, secondsOf } from "../bench.ts";
import { rawGet, rawSet } from "../yardsticks/raw-redis.ts";

const PIECE_BYTES = 262_144;
/** Turns of store and yardstick in one measurement: a host that changes its speed within a tenth of a second meets both. */
const PARTS = 8;

/** `tokens`: a million, or what the memory of an ordinary machine holds four times: here, in Redis, as a yardstick there, and fetched again. */
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
  const { name, config } = findModelConfig(model);
  const { segmentBytes, segmentTokens } = kvSizes(config);
  const values = Array.from({ length: (scene.tiny ? tokens / 64 : tokens) / segmentTokens }, (_, i) => sample(`${i}`, segmentBytes));
  const pieceBytes = Math.min(PIECE_BYTES, segmentBytes);
  const rates = await repeated(scene, name, async () => {
    await server.flush();
    const store = redisStore(server.url, { pieceBytes: PIECE_BYTES, sums: nativeSums() });
    const held: Memory[] = [];
    const put = await byParts(values, pieceBytes, (part) => putAll(store, part), rawSet.bind(null, server.port));
    const get = await byParts(values, pieceBytes, (part) => getAll(store, part, held), rawGet.bind(null, server.port));
    for (const memory of held) memory.release();
    await store.close();
    return { put, get };
  });
  report(
    scene,
    `redis.put.${name}.${label}`,
    `raw SET of ${pieceBytes} B`,
    rates.map(({ put }) => put),
  );
  report(
    scene,
    `redis.get.${name}.${label}`,
    `raw GET of ${pieceBytes} B`,
    rates.map(({ get }) => get),
  );
}

/** Bytes per second through a store, and of the yardstick: seconds that so many values take from the first given on. */
interface Rates {
  readonly store: number;
  readonly raw: number;
}

async function byParts(
  values: readonly Sample[],
  pieceBytes: number,
  move: (part: readonly Sample[]) => Promise<void>,
  raw: (valueBytes: number, first: number, count: number) => Promise<number>,
): Promise<Rates> {
  const each = Math.ceil(values.length / PARTS);
  const pieces = Math.ceil((each * values[0]!.payload.length) / pieceBytes);
  const [seconds, bytes] = [
    { store: 0, raw: 0 },
    { store: 0, raw: 0 },
  ];
  for (let at = 0, first = 0; at < values.length; at += each, first += pieces) {
    const part = values.slice(at, at + each);
    seconds.raw += await raw(pieceBytes, first, pieces);
    seconds.store += await secondsOf(() => move(part));
    bytes.raw += pieces * pieceBytes;
    bytes.store += part.reduce((sum, { payload }) => sum + payload.length, 0);
  }
  return { store: bytes.store / seconds.store, raw: bytes.raw / seconds.raw };
}

function report(scene: Scene, key: string, yardstick: string, rates: readonly Rates[]): void {
  scene.report({
    key,
    unit: "B/s",
    figures: rates.map(({ store }) => store),
    yardstick: { name: yardstick, figures: rates.map(({ raw }) => raw) },
    ratios: rates.map(({ store, raw }) => store / raw),
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
