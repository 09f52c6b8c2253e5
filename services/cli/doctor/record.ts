import { toldOf } from "../../shared/bus/away.ts";
import type { Bus } from "../../shared/bus/contract.ts";
import { isOlder, type Kept, KINDS, type Kind, kindWords, type Storage, storageTroubles } from "../../shared/bus/storage.ts";
import type { Config } from "../../shared/runtime/config.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import { bytes } from "../../shared/runtime/units.ts";
import { withRecord } from "../with-record.ts";
import type { Finding } from "./finding.ts";

const FLOOR = "2.9.10";
/** Servers before it keep some of every consumer that was ever made: 2.9.10 does, 2.10.27 does not. */
const FORGETS_CONSUMERS = "2.10";
const GROWS =
  "before 2.10 nats-server leaks some 3 KB for every consumer, and each large read creates one: " +
  "restart it now and then, nothing is lost by that, or use 2.10";

const found = (state: Finding["state"], text: string): Finding => ({ what: "record (NATS)", state, text, needed: true });

/** How the server of LONGSHORE_NATS_URL does. Makes no streams there. Throws for a URL that cannot be read. */
export async function record(config: Config): Promise<readonly Finding[]> {
  try {
    return await withRecord(config, "none", (bus) => told(bus, config));
  } catch (thrown) {
    const error = ServingError.from(thrown);
    if (error.code === "INVALID_REQUEST") throw error;
    return [found("no", toldOf(error))];
  }
}

async function told(bus: Bus, config: Config): Promise<readonly Finding[]> {
  const storage = await bus.storage();
  if (storage === null) return [found("yes", "in the memory of `longshore up`; LONGSHORE_NATS_URL names a server")];
  return [
    found("yes", `nats-server ${storage.version}, ${taken("disk", storage)}, ${taken("memory", storage)}`),
    ...(isOlder(storage.version, FLOOR) ? [found("no", `${FLOOR} or newer is needed`)] : []),
    ...(isOlder(storage.version, FORGETS_CONSUMERS) ? [found("note", GROWS)] : []),
    ...storageTroubles(storage).map(({ refuses, text }) => found(refuses ? "no" : "note", text)),
    ...(storage.missing.length === 0 ? [] : [...unmade(storage, config.natsPrefix), ...tooFew(storage, config)]),
  ];
}

function taken(kind: Kind, { [kind]: { heldBytes, limitBytes } }: Storage): string {
  const { where, account } = kindWords[kind];
  return limitBytes === null ? `${bytes(heldBytes)} ${where}` : `${bytes(heldBytes)} of ${bytes(limitBytes)} (${account}) ${where}`;
}

/** Whoever starts first makes them: here it can only be said whether they will find room. */
function unmade(storage: Storage, prefix: string): readonly Finding[] {
  const asked = `streams of LONGSHORE_NATS_PREFIX=${prefix} that do not exist yet (${storage.missing.length}) ask for`;
  const lacking = KINDS.filter((kind) => leftBytes(storage[kind]) < storage[kind].missingBytes);
  if (lacking.length > 0) return lacking.map((kind) => noRoom(asked, kind, storage[kind]));
  const room = KINDS.map((kind) => {
    const { limitBytes, missingBytes } = storage[kind];
    return `${bytes(missingBytes)} of ${limitBytes === null ? kindWords[kind].server : `the ${bytes(leftBytes(storage[kind]))} left ${kindWords[kind].where}`}`;
  });
  const isCertain = storage.disk.limitBytes !== null && storage.memory.limitBytes !== null;
  return [found(isCertain ? "yes" : "note", `${asked} ${room.join(" and ")}: the first process creates them`)];
}

/** Each of them needs so many servers to be made, and fewer afterwards. */
function tooFew({ servers }: Storage, { natsReplicas }: Config): readonly Finding[] {
  if (servers >= natsReplicas) return [];
  const asked = `LONGSHORE_NATS_REPLICAS=${natsReplicas} needs a cluster of ${natsReplicas} nats-servers to create them`;
  return [found("note", `${asked}, and this one reports ${servers} up, itself included`)];
}

const leftBytes = ({ limitBytes, grantedBytes, unboundedBytes }: Kept): number =>
  limitBytes === null ? Number.POSITIVE_INFINITY : Math.max(0, limitBytes - grantedBytes - unboundedBytes);

/** What streams without max_bytes hold keeps nobody from making others; these will not find all they were granted. */
function noRoom(asked: string, kind: Kind, kept: Kept): Finding {
  const { where, account } = kindWords[kind];
  const isRefused = leftBytes({ ...kept, unboundedBytes: 0 }) < kept.missingBytes;
  const lower = kind === "disk" ? ", or lower LONGSHORE_LOG_MAX_BYTES, LONGSHORE_PAYLOADS_MAX_BYTES and LONGSHORE_FILES_MAX_BYTES" : "";
  const left = `the account has ${bytes(leftBytes(kept))} left${kept.unboundedBytes === 0 ? "" : `, ${bytes(kept.unboundedBytes)} being held by streams without max_bytes`}`;
  return found(isRefused ? "no" : "note", `${asked} ${bytes(kept.missingBytes)} ${where}, and ${left}: raise its ${account}${lower}`);
}
