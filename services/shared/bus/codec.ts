import protobuf from "protobufjs/light.js";
import definitions from "../../../proto/gen/job.ts";
import { ServingError } from "../runtime/errors.ts";
import type { WorkItem } from "./contract.ts";
import type { JobRequest, LogRecord } from "./events.ts";
import { type Fields, list, text, whole } from "./fields.ts";
import { decodeIdsFast } from "./token-ids.ts";
import { recordFromWire, recordToWire } from "./wire-record.ts";
import { requestToWire } from "./wire-request.ts";

/**
 * Largest record, in bytes. A prompt that does not fit goes to the payload store. Below the 1 MiB that NATS accepts by
 * default.
 */
export const RECORD_BYTES_MAX = 786_432;
const WORK_ITEM_BYTES_MAX = 4_096;

const root = protobuf.Root.fromJSON(definitions as protobuf.INamespace);
decodeIdsFast(root.lookupType("longshore.v1.TokenIds"));
const wire = {
  record: root.lookupType("longshore.v1.LogRecord"),
  request: root.lookupType("longshore.v1.JobRequest"),
  item: root.lookupType("longshore.v1.WorkItem"),
};

/**
 * A record as the log keeps it. `sequence` and `jobId` are left out: they are the message's own. Throws TOO_LARGE
 * beyond RECORD_BYTES_MAX.
 */
export function encodeRecord(record: LogRecord): Uint8Array {
  const bytes = wire.record.encode(recordToWire(record)).finish();
  if (bytes.length <= RECORD_BYTES_MAX) return bytes;
  throw new ServingError(
    "TOO_LARGE",
    `an event of job ${record.jobId} has ${bytes.length} bytes; put large prompts into the payload store`,
  );
}

/**
 * A record with its sequence, as the live fan-out and work items carry it. `stored`: what `encodeRecord` made of it.
 */
export function encodeLive(record: LogRecord, stored?: Uint8Array): Uint8Array {
  const known = live.get(record);
  if (known !== undefined) return known;
  const sequence = wire.record.encode({ sequence: record.sequence }).finish();
  const bytes = Buffer.concat([stored ?? encodeRecord(record), sequence]); // fields may come in any order
  live.set(record, bytes);
  return bytes;
}

/** An event goes to its readers and from message to message, but is encoded once. */
const live = new WeakMap<LogRecord, Uint8Array>();

/** Equal requests have equal bytes. */
export const encodeRequest = (request: JobRequest): Uint8Array => wire.request.encode(requestToWire(request)).finish();

export function encodeItem({ log, ...small }: WorkItem): Uint8Array {
  const encoded = (item: object) => wire.item.encode(item).finish();
  const whole = log?.every(mayFit) ? encoded({ ...small, log: log.map((record) => encodeLive(record)) }) : null;
  return whole !== null && whole.length <= WORK_ITEM_BYTES_MAX ? whole : encoded(small);
}

/**
 * Whether the event may fit a work item. An id takes at least a byte, so a prompt of more need not be encoded to find
 * out.
 */
export const mayFit = ({ event }: LogRecord): boolean =>
  event.type !== "submitted" || !("ids" in event.request.prompt) || event.request.prompt.ids.length < WORK_ITEM_BYTES_MAX;

/** Throws DAMAGED, naming job and sequence, if the bytes are not a record. */
export function decodeRecord(jobId: string, sequence: number, bytes: Uint8Array): LogRecord {
  return checked(`event ${sequence} of ${jobId}`, bytes, RECORD_BYTES_MAX, () => unpack(jobId, sequence, bytes));
}

export function decodeLive(jobId: string, bytes: Uint8Array): LogRecord {
  return checked(`a live event of ${jobId}`, bytes, RECORD_BYTES_MAX, () => unpack(jobId, null, bytes));
}

export function decodeItem(bytes: Uint8Array): WorkItem {
  return checked("a work item", bytes, WORK_ITEM_BYTES_MAX, () => {
    const fields = wire.item.decode(bytes) as unknown as Fields;
    const jobId = text(fields.jobId);
    const log = list(fields.log).length === 0 ? null : logFromWire(jobId, list(fields.log));
    return {
      jobId,
      promptTokens: whole(fields.promptTokens),
      ...(Object.hasOwn(fields, "follows") && { follows: whole(fields.follows) }),
      ...(Object.hasOwn(fields, "outputTokens") && { outputTokens: whole(fields.outputTokens) }),
      ...(log !== null && { log }),
    };
  });
}

/** Null for what cannot be read: the job's claimant then reads its log, which reports any damage. */
function logFromWire(jobId: string, records: readonly unknown[]): readonly LogRecord[] | null {
  try {
    return records.map((bytes) => {
      const record = unpack(jobId, null, bytes as Uint8Array); // the decoder yields nothing else
      live.set(record, bytes as Uint8Array);
      return record;
    });
  } catch {
    return null;
  }
}

function checked<T>(what: string, bytes: Uint8Array, bytesMax: number, decode: () => T): T {
  try {
    if (bytes.length > bytesMax) throw new Error(`it has ${bytes.length} bytes, more than the ${bytesMax} allowed`);
    return decode();
  } catch (cause) {
    throw new ServingError("DAMAGED", `${what} cannot be read: it is damaged, or a newer version wrote it`, { cause });
  }
}

const unpack = (jobId: string, sequence: number | null, bytes: Uint8Array): LogRecord =>
  recordFromWire(jobId, sequence, wire.record.decode(bytes) as unknown as Fields);
