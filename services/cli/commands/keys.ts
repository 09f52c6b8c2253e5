import { type ApiKey, makeKey, readKey } from "../../api/keys/key.ts";
import { KEYS_MAX, makeRoom } from "../../api/keys/keys-room.ts";
import type { Bus } from "../../shared/bus/contract.ts";
import { type Config, requireServers } from "../../shared/runtime/config.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import { table } from "../table.ts";
import { withRecord } from "../with-record.ts";

export interface KeyOptions {
  readonly name: string;
  readonly tenant?: string;
  readonly requestsPerMinute?: number;
  readonly tokensPerMinute?: number;
}

/** Prints the new key on standard output, and nothing else there: it is never shown again. */
export function createKey(config: Config, options: KeyOptions): Promise<void> {
  return withKeys(config, async ({ registry }) => {
    const isFirst = (await registry.keptKeys(0, 1)).length === 0;
    for (const { id, name, revokedMs } of await makeRoom(registry, Date.now()))
      console.error(`key ${id} (${name}), revoked ${day(revokedMs ?? 0)}, was removed: at most ${KEYS_MAX} keys are kept`);
    const { secret, key } = makeKey({
      name: options.name,
      tenant: options.tenant ?? options.name,
      requestsPerMinute: options.requestsPerMinute ?? null,
      tokensPerMinute: options.tokensPerMinute ?? null,
      createdMs: Date.now(),
    });
    await registry.keepKey(key.id, JSON.stringify(key));
    console.error(`key ${key.id} of tenant ${key.tenant}: save it now, only its hash is stored; the API accepts it within seconds`);
    if (isFirst) console.error("it is the first key: from now on requests without a key are refused (401), even once all keys are revoked");
    console.log(secret);
  });
}

export function listKeys(config: Config): Promise<void> {
  return withKeys(config, async (bus) => {
    const keys = await keysOf(bus);
    const rows = keys.map((key) => [
      ...[key.id, key.name, key.tenant, limit(key.requestsPerMinute), limit(key.tokensPerMinute), day(key.createdMs)],
      key.revokedMs === null ? "" : `revoked ${day(key.revokedMs)}`,
    ]);
    if (rows.length === 0)
      return console.log(
        "no keys: the API accepts requests without a key, unless LONGSHORE_REQUIRE_KEYS or LONGSHORE_API_KEYS say otherwise",
      );
    console.log(table([["id", "name", "tenant", "requests/min", "tokens/min", "made", ""], ...rows]));
  });
}

export function revokeKey(config: Config, id: string): Promise<void> {
  return withKeys(config, async (bus) => {
    const keys = await keysOf(bus);
    const key = keys.find((known) => known.id === id);
    if (key === undefined) throw new ServingError("NOT_FOUND", `no key ${id}; \`longshore keys list\` shows them`);
    if (key.revokedMs === null) await bus.registry.keepKey(id, JSON.stringify({ ...key, revokedMs: Date.now() }));
    console.log(`${id}: revoked; the API refuses it within seconds. Jobs submitted with it go on.`);
    const left = keys.filter((other) => other.id !== id && other.revokedMs === null);
    if (left.length === 0) console.log("no key is left: until you create one, only keys in LONGSHORE_API_KEYS are accepted");
  });
}

const keysOf = async ({ registry }: Bus): Promise<readonly ApiKey[]> =>
  (await registry.keptKeys(0, KEYS_MAX)).map(({ text }) => readKey(text)).filter((key) => key !== null);

function withKeys(config: Config, work: (bus: Bus) => Promise<void>): Promise<void> {
  requireServers(config, "natsUrl");
  return withRecord(config, "access", work);
}

const limit = (perMinute: number | null): string => (perMinute === null ? "none" : String(perMinute));
const day = (ms: number): string => new Date(ms).toISOString().slice(0, 10);
