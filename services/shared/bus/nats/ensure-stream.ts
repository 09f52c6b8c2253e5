import { ServingError } from "../../runtime/errors.ts";
import { apiCodes, callApi, isApiError, serverFull } from "./api.ts";
import type { Connection } from "./connection.ts";

export type StreamConfig = Readonly<Record<string, unknown>> & { readonly name: string };

/** Beyond these limits a server drops messages, or copies of them, without a word. */
const limits = ["num_replicas", "max_age", "max_bytes", "max_msgs", "duplicate_window"] as const;
export type Limit = (typeof limits)[number];

export interface StreamPlan {
  readonly config: StreamConfig;
  /** The process's settings that its limits come from; other limits are the same in every process. */
  readonly from: Readonly<Partial<Record<Limit, string>>>;
}

/** Refusals that repeating does not mend, and what does. */
const lasting: ReadonlyMap<number, string> = new Map([
  [apiCodes.replicasNotSupported, "LONGSHORE_NATS_REPLICAS above 1 needs a cluster of nats-servers"],
  [apiCodes.streamSubjectOverlap, "another stream already has these subjects: set LONGSHORE_NATS_PREFIX"],
  [apiCodes.streamInvalidConfig, "check the sizes and ages of docs/configuration.md, and who else made it"],
  [apiCodes.invalidJson, "check the sizes and ages of docs/configuration.md"],
]);

/**
 * Creates a stream, or gives an existing one these settings, but lowers none of its limits: a process that lacks a
 * setting would lower it for all, and messages would be dropped. Resolves to the limits that stay above what is asked,
 * for people. Throws INVALID_REQUEST for a refusal that repeating does not mend, UNAVAILABLE for anything else, both in
 * the server's words.
 */
export async function ensureStream(connection: Connection, { config, from }: StreamPlan): Promise<readonly string[]> {
  const { name } = config;
  const existing = await configOf(connection, name);
  if (existing === null) {
    checkEcho(`stream ${name}`, config, (await change(connection, "CREATE", config)).config);
    return [];
  }
  const larger = limits.filter((limit) => limit in config && most(limit, existing[limit]) > most(limit, config[limit]));
  const wanted = { ...config, ...Object.fromEntries(larger.map((limit) => [limit, existing[limit]])) };
  if (differing(wanted, existing).length > 0)
    checkEcho(`stream ${name}`, wanted, (await change(connection, "UPDATE", { ...existing, ...wanted })).config);
  return larger.map((limit) => {
    const asking = from[limit] ?? "this version";
    return `${name}: ${limit} ${shown(limit, existing[limit])}, ${asking} asks for ${shown(limit, config[limit])}`;
  });
}

export interface Echo {
  readonly config: Readonly<Record<string, unknown>>;
}

/** Servers drop settings they do not know without a word, so their answer is compared with the request. */
export function checkEcho(what: string, asked: Readonly<Record<string, unknown>>, answered: Echo["config"]): void {
  const dropped = differing(asked, answered);
  if (dropped.length === 0) return;
  throw new ServingError("UNAVAILABLE", `nats-server ignored ${dropped.join(", ")} of ${what}; use 2.9.10 or newer`);
}

const differing = (asked: Readonly<Record<string, unknown>>, answered: Echo["config"]): readonly string[] =>
  Object.keys(asked).filter((key) => JSON.stringify(answered[key]) !== JSON.stringify(asked[key]));

/** Zero and less are no limit. */
const most = (limit: Limit, value: unknown): number =>
  typeof value === "number" && (value > 0 || limit === "num_replicas") ? value : Number.POSITIVE_INFINITY;

function shown(limit: Limit, value: unknown): string {
  const count = most(limit, value);
  if (!Number.isFinite(count)) return "unlimited";
  return limit === "max_age" || limit === "duplicate_window" ? `${count / 1e9} s` : String(count);
}

async function configOf(connection: Connection, name: string): Promise<Echo["config"] | null> {
  try {
    return (await callApi<Echo>(connection, `STREAM.INFO.${name}`)).config;
  } catch (thrown) {
    if (isApiError(thrown, apiCodes.streamNotFound)) return null;
    throw refusalOf(connection, name, thrown);
  }
}

async function change(connection: Connection, verb: "CREATE" | "UPDATE", config: StreamConfig): Promise<Echo> {
  try {
    return await callApi(connection, `STREAM.${verb}.${config.name}`, config);
  } catch (thrown) {
    throw refusalOf(connection, config.name, thrown);
  }
}

const NO_PEERS = "creating it needs LONGSHORE_NATS_REPLICAS servers up, each with room for it";
const NO_ROOM =
  "lower LONGSHORE_LOG_MAX_BYTES, LONGSHORE_PAYLOADS_MAX_BYTES and LONGSHORE_FILES_MAX_BYTES, or raise max_file_store (max_mem_store) of nats-server, or max_file (max_mem) of its account";

/** Errors that are not the server's are passed on. */
function refusalOf(connection: Connection, name: string, thrown: unknown): unknown {
  if (!isApiError(thrown)) return thrown;
  const { code, message } = thrown;
  const details = { cause: thrown };
  if (isApiError(thrown, apiCodes.storeFailed, ...serverFull))
    return new ServingError("UNAVAILABLE", `nats-server has no room for stream ${name}: ${message}; ${NO_ROOM}`, details);
  if (code === apiCodes.jetStreamNotEnabledForAccount) return connection.withoutJetStream(thrown);
  const advice = lasting.get(code);
  const why = `nats-server refuses stream ${name}: ${message}; ${advice ?? (code === apiCodes.clusterNoPeers ? NO_PEERS : "see its log")}`;
  return new ServingError(advice === undefined ? "UNAVAILABLE" : "INVALID_REQUEST", why, details);
}
