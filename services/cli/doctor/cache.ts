import type { Config } from "../../shared/runtime/config.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import { bytes } from "../../shared/runtime/units.ts";
import { askRedis } from "../../shared/segments/redis/report.ts";
import type { Finding } from "./finding.ts";

const found = (state: Finding["state"], text: string): Finding => ({ what: "cache (Redis)", state, text, needed: true });

/** How the server of LONGSHORE_REDIS_URL does. Throws for a URL that cannot be read. */
export async function cache({ redisUrl, redisTimeoutMs }: Config): Promise<readonly Finding[]> {
  if (redisUrl.startsWith("memory:")) return [found("yes", "in the memory of `longshore up`; LONGSHORE_REDIS_URL names a server")];
  try {
    const { version, memoryBytes, memoryBytesMax, policy, isReplica } = await askRedis(redisUrl, redisTimeoutMs);
    const limit = memoryBytesMax === 0 ? "all there is" : bytes(memoryBytesMax);
    return [
      found("yes", `Redis ${version}, ${bytes(memoryBytes)} of ${limit}`),
      ...(isReplica ? [found("no", "it is a replica and takes no segments: name its primary in LONGSHORE_REDIS_URL")] : []),
      ...(memoryBytesMax === 0 ? [found("note", `it has no bound and takes the machine's memory: set maxmemory, and ${EVICTS}`)] : []),
      ...(memoryBytesMax > 0 && policy === "noeviction" ? [found("note", `full, it takes no more segments: set ${EVICTS}`)] : []),
    ];
  } catch (error) {
    const { code, message } = ServingError.from(error);
    if (code === "INVALID_REQUEST") throw error;
    return [found("no", message)];
  }
}

const EVICTS = "maxmemory-policy allkeys-lru";
