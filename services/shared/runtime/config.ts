import { basename, resolve } from "node:path";
import { refusal } from "./errors.ts";
import type { Setting } from "./setting-kinds.ts";
import { settings } from "./settings.ts";

export type Config = { readonly [Name in keyof typeof settings]: (typeof settings)[Name] extends Setting<infer T> ? T : never };

export type Environment = Readonly<Record<string, string | undefined>>;

/** The one door to the environment; code that starts other processes hands them this. */
export const environment: Environment = process.env;

/** `segmentTokens` -> `LONGSHORE_SEGMENT_TOKENS` */
export const envName = (name: string): string => `LONGSHORE_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;

/** The model's name for clients, and for the queues between them and the workers. */
export const servedName = ({ modelName, modelPath }: Pick<Config, "modelName" | "modelPath">): string =>
  modelName === "" ? basename(resolve(modelPath)) : modelName;

/**
 * Names every problem in one error, so that a bad deploy fails in its first second with the whole list. Unknown
 * LONGSHORE_ names are problems too.
 */
export function loadConfig(env: Environment = environment): Config {
  const problems: string[] = [];
  const config: Record<string, unknown> = {};
  for (const [name, { parse, fallback, secret }] of Object.entries<Setting<unknown>>(settings)) {
    const value = env[envName(name)] ?? fallback;
    try {
      config[name] = parse(value);
    } catch (error) {
      problems.push(`${envName(name)}${secret === true ? "" : `=${value}`}: ${(error as Error).message}`);
    }
  }
  problems.push(...unknownNames(env));
  if (problems.length === 0) problems.push(...contradictions(config as Config));
  if (problems.length > 0) throw refusal(`bad configuration\n  ${problems.join("\n  ")}`);
  return Object.freeze(config) as Config;
}

/**
 * The log must not drop the beginning of a running job, nor a kept answer; the largest body must fit; and a worker told
 * to stop must have time for its chunk.
 */
function contradictions(config: Config): string[] {
  const { logMaxAgeSeconds, deadlineSeconds, retentionSeconds, bodyMaxBytes, bodiesMaxBytes, chunkMs, drainMs } = config;
  const problems: string[] = [];
  const needed = deadlineSeconds + retentionSeconds;
  if (logMaxAgeSeconds < needed)
    problems.push(`LONGSHORE_LOG_MAX_AGE_SECONDS=${logMaxAgeSeconds}: must be at least the deadline and the retention together, ${needed}`);
  if (bodiesMaxBytes < bodyMaxBytes)
    problems.push(`LONGSHORE_BODIES_MAX_BYTES=${bodiesMaxBytes}: must be at least LONGSHORE_BODY_MAX_BYTES, ${bodyMaxBytes}`);
  if (chunkMs >= drainMs) problems.push(`LONGSHORE_CHUNK_MS=${chunkMs}: must be less than LONGSHORE_DRAIN_MS, ${drainMs}`);
  return problems;
}

/**
 * Refuses `memory:` where processes must meet: each would be a cluster of its own, and wait for the others for ever.
 */
export function requireServers(config: Config, ...names: readonly ("natsUrl" | "redisUrl")[]): void {
  const missing = names.filter((name) => config[name].startsWith("memory:")).map(envName);
  if (missing.length === 0) return;
  const what = `set ${missing.join(" and ")} to the server that all processes of the cluster share`;
  throw refusal(`${what}; without servers, \`longshore up\` runs a whole cluster in one process`);
}

/**
 * Refuses servers where everything is in one process: an operator who named them would look for jobs and keys there.
 */
export function refuseServers(config: Config): void {
  const named = (["natsUrl", "redisUrl"] as const).filter((name) => !config[name].startsWith("memory:")).map(envName);
  if (named.length === 0) return;
  const what = `\`longshore up\` keeps everything in its own process and uses no servers: unset ${named.join(" and ")}`;
  throw refusal(`${what}; \`longshore up --cluster\` starts servers of its own, \`longshore --help\` lists the roles that share yours`);
}

/**
 * Refuses to require keys where none can be made: those of `longshore keys` lie in a record that only this process
 * reaches.
 */
export function refuseLockedDoor({ requireKeys, apiKeys }: Pick<Config, "requireKeys" | "apiKeys">): void {
  if (!requireKeys || apiKeys !== "") return;
  throw refusal(
    "LONGSHORE_REQUIRE_KEYS locks everybody out of a cluster in one process, for which `longshore keys` cannot make keys: set LONGSHORE_API_KEYS to the digests of yours" +
      " (printf %s KEY | sha256sum), or start `longshore up --cluster`",
  );
}

function unknownNames(env: Environment): string[] {
  const known = new Set(Object.keys(settings).map(envName));
  return Object.keys(env)
    .filter((name) => name.startsWith("LONGSHORE_") && !known.has(name))
    .map((name) => `${name}: no such setting; \`longshore config\` lists them`);
}
