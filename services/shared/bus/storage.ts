import { bytes } from "../runtime/units.ts";

/** Room of a server that keeps the record, as it reports it. */
export interface Storage {
  readonly version: string;
  /** Servers in its cluster, as far as it reports them. */
  readonly servers: number;
  readonly disk: Kept;
  readonly memory: Kept;
  /** The cluster's streams that are not there yet. */
  readonly missing: readonly string[];
}

/** Of one kind of storage. */
export interface Kept {
  /** What it counts against its limit, and what its streams hold. */
  readonly countedBytes: number;
  readonly heldBytes: number;
  /** The limit of an account; null if the server reports none: it never reports its own. */
  readonly limitBytes: number | null;
  /** What its streams may grow to, all of which it has set aside. */
  readonly grantedBytes: number;
  /** Held by streams without max_bytes: nothing is set aside for them, and they may take all there is. */
  readonly unboundedBytes: number;
  /** What the streams that are not there yet will ask for. */
  readonly missingBytes: number;
  /** Why it took no write just now; null where it did, or there is nothing to write to. */
  readonly refusal: string | null;
  /** The streams that hold most, largest first. */
  readonly largest: readonly Holder[];
}

interface Holder {
  readonly name: string;
  /** In all its copies; `bytesMax` null: without max_bytes. */
  readonly heldBytes: number;
  readonly bytesMax: number | null;
}

export const KINDS = ["disk", "memory"] as const;
export type Kind = (typeof KINDS)[number];

/** The kinds in words, and the settings of nats-server that bound them: of an account, and of the server. */
export const kindWords = {
  disk: { where: "on disk", account: "max_file", server: "max_file_store" },
  memory: { where: "in memory", account: "max_mem", server: "max_mem_store" },
} as const;

/** What the record's operator has to know and do. */
interface Trouble {
  readonly kind: Kind;
  readonly refuses: boolean;
  readonly text: string;
}

/**
 * Part of what may be stored that may be counted and held by no stream before that is reported. Consumers and copies on
 * their way are less.
 */
const LOST_PART = 0.1;
/** Part of an account's limit from which it is nearly full. */
const NEARLY = 0.9;
const MENDED = "2.9.15";

export const storageTroubles = (storage: Storage): readonly Trouble[] =>
  KINDS.flatMap((kind) => {
    const text = troubleOf(kind, storage);
    return text === null ? [] : [{ kind, refuses: storage[kind].refusal !== null, text }];
  });

function troubleOf(kind: Kind, { version, [kind]: kept }: Storage): string | null {
  const { countedBytes, heldBytes, limitBytes, refusal } = kept;
  // What is in memory is not deleted by its subject.
  if (kind === "disk" && countedBytes - heldBytes > LOST_PART * mostBytes(kept)) return lost(version, kept);
  if (refusal !== null) return `${refusal}${holders(kind, kept)}`;
  return limitBytes !== null && limitBytes > 0 && countedBytes >= NEARLY * limitBytes
    ? nearlyFull(kind, countedBytes, limitBytes, kept)
    : null;
}

const mostBytes = ({ limitBytes, grantedBytes, unboundedBytes, missingBytes }: Kept): number =>
  limitBytes ?? grantedBytes + unboundedBytes + missingBytes;

const lost = (version: string, { countedBytes, heldBytes, refusal }: Kept): string =>
  `nats-server ${version} counts ${bytes(countedBytes)} as stored, its streams hold ${bytes(heldBytes)}: it goes on counting what was deleted, ` +
  `and ${refusal === null ? "will refuse everything once that reaches max_file_store" : "now refuses everything"}. ` +
  `Restart it: nothing is lost, and it counts anew${isOlder(version, MENDED) ? `; from ${MENDED} on this does not happen` : ""}`;

const nearlyFull = (kind: Kind, countedBytes: number, limitBytes: number, kept: Kept): string =>
  `${bytes(countedBytes)} of the ${bytes(limitBytes)} that the account may keep ${kindWords[kind].where} are taken: ` +
  `raise its ${kindWords[kind].account} before everything there is refused${holders(kind, kept)}`;

/** The streams that take the room, for the end of a sentence. */
function holders(kind: Kind, { largest }: Kept): string {
  if (largest.length === 0) return "";
  const told = largest.map(({ name, heldBytes, bytesMax }) => {
    return `${name} ${bytes(heldBytes)}${bytesMax === null ? " (it has no max_bytes and may take all there is)" : ` of ${bytes(bytesMax)}`}`;
  });
  return `. Most ${kindWords[kind].where} is held by ${told.join(", ")}`;
}

export const isOlder = (version: string, floor: string): boolean => version.localeCompare(floor, undefined, { numeric: true }) < 0;
