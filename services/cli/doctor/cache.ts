import type { Config } from "../../shared/runtime/config.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import { bytes } from "../../shared/runtime/units.ts";
import { askRedis, type ClusterReport, type RedisReport } from "../../shared/segments/redis/report.ts";
import { SLOTS } from "../../shared/segments/redis/slots.ts";
import { parseRedisUrls } from "../../shared/segments/redis/target.ts";
import type { Finding } from "./finding.ts";

const found = (state: Finding["state"], text: string): Finding => ({ what: "cache (Redis)", state, text, needed: true });

/** How the server of LONGSHORE_REDIS_URL does, or its cluster. Throws for a URL that cannot be read. */
export async function cache({ redisUrl, redisTimeoutMs }: Config): Promise<readonly Finding[]> {
  if (redisUrl.startsWith("memory:")) return [found("yes", "in the memory of `longshore up`; LONGSHORE_REDIS_URL names a server")];
  try {
    const asked = await askRedis(redisUrl, redisTimeoutMs);
    const [{ db }, ...others] = parseRedisUrls(redisUrl);
    if ("cluster" in asked) return [...ofCluster(asked.cluster), ...(db === 0 ? [] : [NO_DATABASE])];
    return [...ofServer(`Redis ${asked.single.version}`, asked.single), ...(others.length > 0 ? [NO_CLUSTER] : [])];
  } catch (error) {
    const { code, message } = ServingError.from(error);
    if (code === "INVALID_REQUEST") throw error;
    return [found("no", message)];
  }
}

function ofServer(name: string, { memoryBytes, memoryBytesMax, policy, isReplica }: RedisReport): readonly Finding[] {
  const limit = memoryBytesMax === 0 ? "all there is" : bytes(memoryBytesMax);
  return [
    found("yes", `${name}, ${bytes(memoryBytes)} of ${limit}`),
    ...(isReplica ? [found("no", "it is a replica and stores no segments: name its primary in LONGSHORE_REDIS_URL")] : []),
    ...(memoryBytesMax === 0
      ? [found("note", `it has no memory limit and may use all of the machine's: set maxmemory, and ${EVICTS}`)]
      : []),
    ...(memoryBytesMax > 0 && policy === "noeviction" ? [found("note", `when full it stores no new segments: set ${EVICTS}`)] : []),
  ];
}

function ofCluster({ version, state, slotsServed, masters }: ClusterReport): readonly Finding[] {
  const lacks = `${SLOTS - slotsServed} of ${SLOTS} slots have no master that is up, and cached prompts are found only up to the first missing slot: start it, let a replica take over, or move them`;
  return [
    found("yes", `Redis ${version}, a cluster of ${masters.size} ${masters.size === 1 ? "master" : "masters"}, cluster_state ${state}`),
    ...(state === "ok" ? [] : [found("no", `it stores no segments: ${DOWN}`)]),
    ...(slotsServed < SLOTS ? [found("no", lacks)] : []),
    ...[...masters].flatMap(([name, report]) =>
      typeof report === "string" ? [unreached(name, report)] : ofServer(`master ${name}`, report),
    ),
  ];
}

const unreached = (name: string, why: string): Finding =>
  found("no", `master ${name} does not answer (${why}); this machine must be able to reach it at the address the cluster announces`);

const DOWN = "most of its masters must be up, and a master for every slot unless it says cluster-require-full-coverage no";
const NO_DATABASE = found("no", "a cluster has only database 0: remove the number from LONGSHORE_REDIS_URL");
const NO_CLUSTER = found("note", "it is not a cluster: only one of the servers in LONGSHORE_REDIS_URL is used, so name one");
const EVICTS = "maxmemory-policy allkeys-lru";
