import type { Bus } from "../../shared/bus/contract.ts";
import { busFromConfig } from "../../shared/bus/from-config.ts";
import { isOlder, type Storage, storageTrouble } from "../../shared/bus/storage.ts";
import type { Config } from "../../shared/runtime/config.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import { bytes } from "../../shared/runtime/units.ts";
import type { Finding } from "./finding.ts";

const READY_MS = 5_000;
const FLOOR = "2.9.10";

const found = (state: Finding["state"], text: string): Finding => ({ what: "record (NATS)", state, text, needed: true });

/** How the server of LONGSHORE_NATS_URL does. Makes no streams there. Throws for a URL that cannot be read. */
export async function record(config: Config): Promise<readonly Finding[]> {
  const bus = busFromConfig(config, { streams: "none" });
  try {
    return await told(bus, config);
  } catch (error) {
    return [found("no", ServingError.from(error).message)];
  } finally {
    await bus.close();
  }
}

async function told(bus: Bus, { natsPrefix }: Config): Promise<readonly Finding[]> {
  await bus.ready(READY_MS);
  const storage = await bus.storage();
  if (storage === null) return [found("yes", "in the memory of `longshore up`; LONGSHORE_NATS_URL names a server")];
  const trouble = storageTrouble(storage);
  return [
    found("yes", `nats-server ${storage.version}, ${bytes(storage.heldBytes)} stored`),
    ...(isOlder(storage.version, FLOOR) ? [found("no", `${FLOOR} or newer is needed`)] : []),
    ...(trouble === null ? [] : [found(storage.refusal === null ? "note" : "no", trouble)]),
    ...(storage.missing.length === 0 ? [] : [unmade(storage, natsPrefix)]),
  ];
}

/** Whoever starts first makes them: here it can only be said whether they will find room. */
function unmade({ missing, missingBytes, limitBytes, grantedBytes }: Storage, prefix: string): Finding {
  const asked = `streams of LONGSHORE_NATS_PREFIX=${prefix} that are still to be made (${missing.length}) ask for ${bytes(missingBytes)}`;
  if (limitBytes === null) return found("note", `${asked} of max_file_store: the first process makes them`);
  const leftBytes = Math.max(0, limitBytes - grantedBytes);
  if (missingBytes <= leftBytes) return found("yes", `${asked} of the ${bytes(leftBytes)} that are left: the first process makes them`);
  const advice =
    "raise max_file of the account, or lower LONGSHORE_LOG_MAX_BYTES, LONGSHORE_PAYLOADS_MAX_BYTES and LONGSHORE_FILES_MAX_BYTES";
  return found("no", `${asked}, and the account has ${bytes(leftBytes)} left: ${advice}`);
}
