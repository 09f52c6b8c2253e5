import { ServingError } from "../../runtime/errors.ts";
import type { Kept, Storage } from "../storage.ts";
import { apiCodes, callApi, isApiError } from "./api.ts";
import type { Connection } from "./connection.ts";
import type { StreamPlan } from "./ensure-stream.ts";
import type { Placement } from "./messages.ts";
import type { Stream } from "./stream.ts";
import type { Names } from "./subjects.ts";

interface Account {
  readonly storage: number;
  readonly memory: number;
  /** Negative: none that we are told of; the server's own is never told. */
  readonly limits: { readonly max_storage: number; readonly max_memory: number };
  /** If limits go by the number of copies, those above are none. */
  readonly tiers?: object;
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

/** How many of the largest streams are named. */
const NAMED = 3;

/** Streams that are written to as a test: one on disk, one in memory. */
interface Probed {
  readonly log: Stream;
  readonly beats: Stream;
}

/**
 * What the account counts and what all its streams hold, and whether `log` and `beats`, if they exist, take a write.
 * Throws UNAVAILABLE.
 */
export async function measureStorage(connection: Connection, plans: readonly StreamPlan[], probed: Probed, names: Names): Promise<Storage> {
  try {
    return await measured(connection, plans, probed, names);
  } catch (thrown) {
    if (!isApiError(thrown)) throw thrown;
    if (thrown.code === apiCodes.jetStreamNotEnabledForAccount) throw connection.withoutJetStream(thrown);
    throw new ServingError("UNAVAILABLE", `${thrown.message}; see the log of nats-server`, { cause: thrown });
  }
}

async function measured(connection: Connection, plans: readonly StreamPlan[], { log, beats }: Probed, names: Names): Promise<Storage> {
  const account = await callApi<Account>(connection, "INFO");
  const streams = await listed(connection);
  const isThere = (name: unknown) => streams.some(({ config }) => config.name === name);
  const missing = plans.map(({ config }) => config).filter(({ name }) => !isThere(name));
  const limit = (max: number) => (account.tiers !== undefined || max < 0 ? null : max);
  const kept = (storage: string, refusal: string | null, countedBytes: number, max: number): Kept => ({
    ...held(streams.filter(({ config }) => config.storage === storage)),
    countedBytes,
    limitBytes: limit(max),
    missingBytes: sum(missing, (config) => (config.storage === storage ? Number(config.num_replicas) * Number(config.max_bytes ?? 0) : 0)),
    refusal,
  });
  const refusals = {
    file: isThere(log.name) ? await refusalOf(log, names.log.clock, { replace: true }) : null,
    memory: isThere(beats.name) ? await refusalOf(beats, `${names.beats.subject}.clock`) : null,
  };
  return {
    version: connection.version,
    servers: connection.servers,
    disk: kept("file", refusals.file, account.storage, account.limits.max_storage),
    memory: kept("memory", refusals.memory, account.memory, account.limits.max_memory),
    missing: missing.map(({ name }) => name),
  };
}

function held(streams: readonly Listed[]): Pick<Kept, "heldBytes" | "grantedBytes" | "unboundedBytes" | "largest"> {
  const holders = streams.map(({ config: { name, num_replicas, max_bytes }, state }) => ({
    name,
    heldBytes: num_replicas * state.bytes,
    bytesMax: max_bytes > 0 ? num_replicas * max_bytes : null,
  }));
  return {
    heldBytes: sum(holders, ({ heldBytes }) => heldBytes),
    grantedBytes: sum(holders, ({ bytesMax }) => bytesMax ?? 0),
    unboundedBytes: sum(holders, ({ heldBytes, bytesMax }) => (bytesMax === null ? heldBytes : 0)),
    largest: holders
      .filter(({ heldBytes }) => heldBytes > 0)
      .toSorted((a, b) => b.heldBytes - a.heldBytes)
      .slice(0, NAMED),
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

/**
 * Why the stream takes no write; null if it does. Writes a clock message, as is done every few seconds in any case,
 * which replaces the one before.
 */
async function refusalOf(stream: Stream, clock: string, placement: Placement = {}): Promise<string | null> {
  try {
    await stream.put(clock, new Uint8Array(), placement);
    return null;
  } catch (thrown) {
    if (!(thrown instanceof ServingError && thrown.code === "OVERLOADED")) throw thrown;
    return thrown.message;
  }
}

const sum = <T>(all: readonly T[], of: (one: T) => number): number => all.reduce((total, one) => total + of(one), 0);
