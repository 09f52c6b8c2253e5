import { bytes } from "../runtime/units.ts";

/** What a server that keeps the record says of its disk. */
export interface Storage {
  readonly version: string;
  /** What it counts against its limit, and what its streams hold. */
  readonly countedBytes: number;
  readonly heldBytes: number;
  /** The limit; null where the server does not tell it: that of an account is told, its own is not. */
  readonly limitBytes: number | null;
  /** What its streams may grow to, all of which it has set aside. */
  readonly grantedBytes: number;
  /** The cluster's streams that are not there yet, and what they will ask for. */
  readonly missing: readonly string[];
  readonly missingBytes: number;
  /** Why it took no write just now; null where it did, or there is nothing to write to. */
  readonly refusal: string | null;
}

/** Of what may be stored: more than that is worth a word when nobody holds it. Consumers and copies on their way are less. */
const LOST_PART = 0.1;
/** Of an account's limit, which is told: what is left is filled soon. */
const NEARLY = 0.9;
const MENDED = "2.9.15";

/** What whoever runs the record has to know and do; null: nothing. */
export function storageTrouble(storage: Storage): string | null {
  const { countedBytes, heldBytes, limitBytes, grantedBytes, missingBytes, refusal } = storage;
  if (countedBytes - heldBytes > LOST_PART * (limitBytes ?? grantedBytes + missingBytes)) return lost(storage);
  if (refusal !== null) return refusal;
  return limitBytes !== null && countedBytes >= NEARLY * limitBytes ? nearlyFull(countedBytes, limitBytes) : null;
}

const lost = ({ version, countedBytes, heldBytes, refusal }: Storage): string =>
  `nats-server ${version} counts ${bytes(countedBytes)} as stored, its streams hold ${bytes(heldBytes)}: it goes on counting what was deleted, ` +
  `and ${refusal === null ? "will refuse everything once that reaches max_file_store" : "now refuses everything"}. ` +
  `Restart it: nothing is lost, and it counts anew${isOlder(version, MENDED) ? `; from ${MENDED} on this does not happen` : ""}`;

const nearlyFull = (countedBytes: number, limitBytes: number): string =>
  `${bytes(countedBytes)} of the ${bytes(limitBytes)} that the account may store are taken: raise its max_file before everything is refused`;

export const isOlder = (version: string, floor: string): boolean => version.localeCompare(floor, undefined, { numeric: true }) < 0;
