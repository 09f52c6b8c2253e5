import { ServingError } from "../../runtime/errors.ts";
import type { Storage } from "../storage.ts";
import { apiCodes, callApi, isApiError } from "./api.ts";
import { type Connection, NO_JETSTREAM } from "./connection.ts";
import type { StreamPlan } from "./ensure-stream.ts";
import type { Stream } from "./stream.ts";
import type { Names } from "./subjects.ts";

interface Account {
  readonly storage: number;
  /** Zero and less: none that we are told, that of the server among them. */
  readonly limits: { readonly max_storage: number };
}

interface Listed {
  readonly config: { readonly name: string; readonly storage: string; readonly num_replicas: number; readonly max_bytes: number };
  readonly state: { readonly bytes: number };
}

interface Page {
  readonly total: number;
  readonly streams: readonly Listed[] | null;
  /** Streams whose servers did not answer. */
  readonly missing?: readonly string[] | null;
}

/** One look at what the account counts and what its streams hold, all of them, and a write to `log`, where that is. UNAVAILABLE. */
export async function measureStorage(connection: Connection, plans: readonly StreamPlan[], log: Stream, names: Names): Promise<Storage> {
  try {
    return await measured(connection, plans, log, names);
  } catch (thrown) {
    if (!isApiError(thrown)) throw thrown;
    const advice = isApiError(thrown, apiCodes.jetStreamNotEnabledForAccount) ? NO_JETSTREAM : "see the log of nats-server";
    throw new ServingError("UNAVAILABLE", `${thrown.message}; ${advice}`, { cause: thrown });
  }
}

async function measured(connection: Connection, plans: readonly StreamPlan[], log: Stream, names: Names): Promise<Storage> {
  const { storage, limits } = await callApi<Account>(connection, "INFO");
  const streams = await listed(connection);
  const onDisk = streams.filter(({ config }) => config.storage === "file");
  const missing = plans.filter(({ config }) => !streams.some((stream) => stream.config.name === config.name)).map(({ config }) => config);
  return {
    version: connection.version,
    countedBytes: storage,
    heldBytes: sum(onDisk, ({ config, state }) => config.num_replicas * state.bytes),
    limitBytes: limits.max_storage > 0 ? limits.max_storage : null,
    grantedBytes: sum(onDisk, ({ config }) => config.num_replicas * Math.max(0, config.max_bytes)),
    missing: missing.map(({ name }) => name),
    missingBytes: sum(missing, (config) => (config.storage === "file" ? Number(config.num_replicas) * Number(config.max_bytes ?? 0) : 0)),
    refusal: missing.some(({ name }) => name === log.name) ? null : await refusalOf(log, names.log.clock),
  };
}

async function listed(connection: Connection): Promise<readonly Listed[]> {
  const all: Listed[] = [];
  for (;;) {
    const { total, streams, missing } = await callApi<Page>(connection, "STREAM.LIST", { offset: all.length });
    if ((missing ?? []).length > 0)
      throw new ServingError("UNAVAILABLE", `nats-server cannot say what all streams hold: ${missing!.join(", ")}`);
    all.push(...(streams ?? []));
    if ((streams ?? []).length === 0 || all.length >= total) return all;
  }
}

/** The log's clock is written every few seconds in any case, and replaced each time. */
async function refusalOf(log: Stream, clock: string): Promise<string | null> {
  try {
    await log.put(clock, new Uint8Array(), { replace: true });
    return null;
  } catch (thrown) {
    if (!(thrown instanceof ServingError && thrown.code === "OVERLOADED")) throw thrown;
    return thrown.message;
  }
}

const sum = <T>(all: readonly T[], of: (one: T) => number): number => all.reduce((total, one) => total + of(one), 0);
