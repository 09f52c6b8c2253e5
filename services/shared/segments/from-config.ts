import type { Clock } from "../runtime/clock.ts";
import type { Config } from "../runtime/config.ts";
import type { Logger } from "../runtime/log.ts";
import type { Metrics } from "../runtime/metrics.ts";
import type { Random } from "../runtime/random.ts";
import type { CountedStore } from "./contract.ts";
import { showFigures } from "./figures.ts";
import { MemoryStore } from "./memory-store.ts";
import { RedisStore } from "./redis/store.ts";
import type { Sums } from "./sums.ts";

interface StoreDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly random: Random;
  readonly metrics: Metrics;
  /** Replaces zlib's CRC-32. */
  readonly sums?: Sums | null;
}

/** The store a process of the cluster uses: every process with the same settings finds the others' segments there. */
export function storeFromConfig(config: Config, deps: StoreDeps): CountedStore {
  const store = open(config, deps);
  showFigures(store, deps.metrics);
  return store;
}

function open(config: Config, { clock, log, random, sums = null }: StoreDeps): CountedStore {
  const ttlMs = { segment: config.segmentTtlSeconds * 1_000, boundary: config.boundaryTtlSeconds * 1_000 };
  if (config.redisUrl.startsWith("memory:")) return new MemoryStore({ bytesMax: config.memoryStoreBytes, ttlMs, clock, log, sums });
  return new RedisStore({
    url: config.redisUrl,
    prefix: config.redisPrefix,
    connections: config.redisConnections,
    pieceBytes: config.redisPieceBytes,
    timeoutMs: config.redisTimeoutMs,
    ttlMs,
    clock,
    random,
    log,
    sums,
  });
}
