import { startRedis } from "../../support/redis.ts";
import { type Bench, notRun, repeated, type Scene } from "../bench.ts";
import { loopbackRate } from "../yardsticks/loopback.ts";
import { memcpyRate, Rotation } from "../yardsticks/memcpy.ts";
import { rawRedis } from "../yardsticks/raw-redis.ts";
import { limitKeys, limits } from "../yardsticks/roofline.ts";

const COPY_BYTES = 2_147_483_648;
const VALUE_BYTES = 262_144;

export const roofline: Bench = {
  name: "roofline",
  about: "what this machine can do: memory, matrix units, loopback, Redis",
  async run(scene) {
    scene.say("memory and matrix units");
    for (const [key, limit] of await limits(scene, limitKeys)) {
      scene.report("missing" in limit ? notRun(`roofline.${key}`, limit.missing) : { key: `roofline.${key}`, ...limit });
    }
    await memcpy(scene);
    await sampled(scene, "roofline.loopback", () => loopbackRate(scene.tiny ? 16_777_216 : 1_073_741_824));
    await redis(scene);
  },
};

async function sampled(scene: Scene, key: string, once: () => Promise<number>): Promise<void> {
  scene.report({ key, unit: "B/s", figures: await repeated(scene, key, once) });
}

/** Reads and writes 4 GB together. */
async function memcpy(scene: Scene): Promise<void> {
  const bytes = scene.tiny ? COPY_BYTES / 256 : COPY_BYTES;
  const [from, to] = [new Rotation(bytes), new Rotation(bytes)];
  const size = 1_048_576;
  await sampled(scene, "roofline.memcpy", () => memcpyRate(from, to, size, bytes / size));
}

async function redis(scene: Scene): Promise<void> {
  const server = await startRedis();
  try {
    const rates = await repeated(scene, "roofline.redis", () => rawRedis(server.port, VALUE_BYTES, scene.tiny ? 32 : 2_048));
    scene.report({ key: "roofline.redis.set.256k", unit: "B/s", figures: rates.map(({ set }) => set) });
    scene.report({ key: "roofline.redis.get.256k", unit: "B/s", figures: rates.map(({ get }) => get) });
  } finally {
    await server.stop();
  }
}
