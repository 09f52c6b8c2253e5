import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../../services/cli/cluster/ports.ts";
import type { Bus } from "../../services/shared/bus/contract.ts";
import { busFromConfig } from "../../services/shared/bus/from-config.ts";
import { loadConfig } from "../../services/shared/runtime/config.ts";
import { NatsServer } from "../support/nats.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import type { Role } from "../support/role-process.ts";
import { Replica } from "./replica.ts";

export const MODEL = "yardlog";
export const SEGMENT_TOKENS = 128;

/** Times are short, so that a takeover takes seconds; sizes are small, so that a prompt is many segments and chunks. */
export const settings = {
  LONGSHORE_MODEL_PATH: `deploy/models/${MODEL}`,
  LONGSHORE_ENGINE: "weightless",
  LONGSHORE_WEIGHTLESS_CHUNK_MS: "24",
  LONGSHORE_WEIGHTLESS_STEP_MS: "4",
  LONGSHORE_SEGMENT_TOKENS: String(SEGMENT_TOKENS),
  LONGSHORE_BOUNDARY_TOKENS: "512",
  LONGSHORE_CHUNK_TOKENS: "256",
  LONGSHORE_CHUNK_MS: "100", // turns are three of them
  LONGSHORE_PREFILL_SLOTS: "4",
  LONGSHORE_CLAIM_MS: "2000",
  LONGSHORE_BEAT_MS: "500",
  LONGSHORE_GRACE_MS: "10000",
  LONGSHORE_HEARTBEAT_MS: "500",
  LONGSHORE_DRAIN_MS: "5000",
  LONGSHORE_REDIS_TIMEOUT_MS: "1000",
  LONGSHORE_DEADLINE_SECONDS: "600",
  LONGSHORE_ATTEMPTS_MAX: "50", // a job that is unlucky many times in a row is no poison here: everything dies all the time
} as const;

/** Two of each role, NATS and Redis, each an operating system process of its own. */
export interface ChaosCluster {
  readonly nats: NatsServer;
  readonly redis: RedisServer;
  readonly replicas: readonly Replica[];
  /** URL of each API replica; it outlives the process behind it. */
  readonly apis: readonly string[];
  /** The record, reached past the disturbed network. */
  readonly bus: Bus;
  /** Where the processes' output lies. */
  readonly folder: string;
  /** The folder is kept if something is to be looked up in it. */
  stop(keepFolder: boolean): Promise<void>;
}

const roles: readonly Role[] = ["api", "prefill", "decode"];

export async function startChaosCluster(changes: Readonly<Record<string, string>> = {}): Promise<ChaosCluster> {
  const folder = mkdtempSync(join(tmpdir(), "longshore-chaos-"));
  const env = { ...settings, ...changes };
  const [nats, redis] = await Promise.all([NatsServer.start(), startRedis()]);
  const bus = busFromConfig(loadConfig({ ...env, LONGSHORE_NATS_URL: nats.url }));
  const apiPorts = [await freePort(), await freePort()];
  const replicas = await Promise.all(
    roles.flatMap((role) =>
      [0, 1].map((index) => {
        const name = `${role}-${index + 1}`;
        const own = role === "api" ? { ...env, LONGSHORE_PORT: String(apiPorts[index]) } : env;
        const logPath = join(folder, `${name}.log`);
        return Replica.start({ name, role, env: own, natsPort: nats.port, redisPort: redis.port, logPath });
      }),
    ),
  );
  return {
    nats,
    redis,
    replicas,
    bus,
    folder,
    apis: apiPorts.map((port) => `http://127.0.0.1:${port}`),
    async stop(keepFolder) {
      await Promise.all(replicas.map((replica) => replica.stop()));
      await bus.close();
      await Promise.all([nats.stop(), redis.stop()]);
      if (!keepFolder) rmSync(folder, { recursive: true, force: true });
    },
  };
}
