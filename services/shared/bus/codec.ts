import protobuf from "protobufjs/light.js";
import definitions from "../../../proto/gen/job.ts";
import { ServingError } from "../runtime/errors.ts";
import type { WorkItem } from "./contract.ts";
import type { JobEvent, JobRequest, Lane, LogRecord, Phase, TokenLogprobs, Tokens, Usage } from "./events.ts";
import { boolean, choice, type Fields, floating, ints, list, message, text, unsigned64, whole } from "./fields.ts";
import { decodeIdsFast } from "./token-ids.ts";

/** Largest record, in bytes. A prompt that does not fit goes to the payload store. Below the 1 MiB that NATS accepts by default. */
export const RECORD_BYTES_MAX = 786_432;
const WORK_ITEM_BYTES_MAX = 4_096;
const VIEW_BYTES_MAX = 65_536;

const root = protobuf.Root.fromJSON(definitions as protobuf.INamespace);
decodeIdsFast(root.lookupType("longshore.v1.TokenIds"));
const wire = {
  record: root.lookupType("longshore.v1.LogRecord"),
  request: root.lookupType("longshore.v1.JobRequest"),
  item: root.lookupType("longshore.v1.WorkItem"),
};

const lanes: readonly Lane[] = ["interactive", "batch"];
const phases: readonly Phase[] = ["prefill", "decode"];
const reasons = ["stop", "length"] as const;

/** What the log keeps. `sequence` and `jobId` are not part of it: they are the message's own. TOO_LARGE beyond RECORD_BYTES_MAX. */
export function encodeRecord(record: LogRecord): Uint8Array {
  const bytes = wire.record.encode(recordToWire(record)).finish();
  if (bytes.length <= RECORD_BYTES_MAX) return bytes;
  throw new ServingError(
    "TOO_LARGE",
    `an event of job ${record.jobId} has ${bytes.length} bytes; put large prompts into the payload store`,
  );
}

/** What the live fan-out carries, and whoever goes on with the job: the record and its sequence. `stored`: what `encodeRecord` made of it. */
export function encodeLive(record: LogRecord, stored?: Uint8Array): Uint8Array {
  const known = live.get(record);
  if (known !== undefined) return known;
  const sequence = wire.record.encode({ sequence: record.sequence }).finish();
  const bytes = Buffer.concat([stored ?? encodeRecord(record), sequence]); // fields may come in any order
  live.set(record, bytes);
  return bytes;
}

/** An event goes to its readers and from message to message: it is written down once. */
const live = new WeakMap<LogRecord, Uint8Array>();

/** Equal requests have equal bytes. */
export const encodeRequest = (request: JobRequest): Uint8Array => wire.request.encode(requestToWire(request)).finish();

export function encodeItem({ log, ...small }: WorkItem): Uint8Array {
  const encoded = (item: object) => wire.item.encode(item).finish();
  const whole = log?.every(mayFit) ? encoded({ ...small, log: log.map((record) => encodeLive(record)) }) : null;
  return whole !== null && whole.length <= WORK_ITEM_BYTES_MAX ? whole : encoded(small);
}

/** Whether a work item may have room for the event. An id takes a byte at least: a prompt of more is not written down to find that out. */
export const mayFit = ({ event }: LogRecord): boolean =>
  event.type !== "submitted" || !("ids" in event.request.prompt) || event.request.prompt.ids.length < WORK_ITEM_BYTES_MAX;

/** DAMAGED, naming job and sequence, if the bytes are not a record. */
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

/** Null for what cannot be read: whoever claims the job reads its log then, and tells of it what there is to tell. */
function logFromWire(jobId: string, records: readonly unknown[]): readonly LogRecord[] | null {
  try {
    return records.map((bytes) => {
      const record = unpack(jobId, null, bytes as Uint8Array); // the decoder makes nothing else of them
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

function recordToWire(record: LogRecord): object {
  const { event, previous, epoch, attempt, tokenCount, atMs } = record;
  const body = event.type === "submitted" ? { request: requestToWire(event.request) } : eventToWire(event);
  const phase = phases.indexOf(record.phase);
  return { previous, epoch, phase, attempt, tokenCount, atMs, [fieldOf(event.type)]: body };
}

const fieldOf = (type: JobEvent["type"]): string => (type === "handed_over" ? "handedOver" : type === "sent_back" ? "sentBack" : type);

const eventToWire = (event: JobEvent): object => (event.type === "finished" ? { ...event, reason: reasons.indexOf(event.reason) } : event);

function requestToWire(request: JobRequest): object {
  const { prompt, sampling, lane, ...rest } = request;
  if (Buffer.byteLength(request.view) > VIEW_BYTES_MAX) {
    throw new ServingError("TOO_LARGE", `what the API keeps of a request (\`view\`) must be at most ${VIEW_BYTES_MAX} bytes`);
  }
  const seed = { low: Number(sampling.seed & 0xffffffffn), high: Number((sampling.seed >> 32n) & 0xffffffffn), unsigned: true };
  const source = "ids" in prompt ? { inline: { ids: prompt.ids } } : { payload: prompt.payload };
  return { ...rest, ...source, lane: lanes.indexOf(lane), sampling: { ...sampling, seed } };
}

function requestFromWire(fields: Fields): JobRequest {
  return {
    model: text(fields.model),
    tenant: text(fields.tenant),
    lane: choice(lanes, fields.lane),
    prompt: fields.prompt === "payload" ? { payload: text(fields.payload) } : { ids: idsOf(message(fields.inline).ids) },
    promptTokens: whole(fields.promptTokens),
    maxTokens: whole(fields.maxTokens),
    sampling: samplingFromWire(message(fields.sampling)),
    ...(Object.hasOwn(fields, "constraint") && { constraint: constraintFromWire(message(fields.constraint)) }),
    stop: list(fields.stop).map(text),
    stopIds: ints(fields.stopIds),
    deadlineMs: whole(fields.deadlineMs),
    detached: boolean(fields.detached),
    view: text(fields.view),
  };
}

const idsOf = (value: unknown): Int32Array => (value instanceof Int32Array ? value : Int32Array.from(ints(value)));

const samplingFromWire = (fields: Fields): JobRequest["sampling"] => ({
  temperature: floating(fields.temperature),
  topP: floating(fields.topP),
  topK: floating(fields.topK),
  minP: floating(fields.minP),
  seed: unsigned64(fields.seed),
  ...(Object.hasOwn(fields, "bias") && { bias: biasFromWire(message(fields.bias)) }),
  ...(Object.hasOwn(fields, "presencePenalty") && { presencePenalty: floating(fields.presencePenalty) }),
  ...(Object.hasOwn(fields, "frequencyPenalty") && { frequencyPenalty: floating(fields.frequencyPenalty) }),
  ...(Object.hasOwn(fields, "topLogprobs") && { topLogprobs: floating(fields.topLogprobs) }),
});

const constraintFromWire = (fields: Fields): NonNullable<JobRequest["constraint"]> => ({
  schema: text(fields.schema),
  ...(Object.hasOwn(fields, "after") && { after: floating(fields.after) }),
});

const biasFromWire = ({ ids, values }: Fields) => ({ ids: ints(ids), values: list(values).map(floating) });

const unpack = (jobId: string, sequence: number | null, bytes: Uint8Array): LogRecord =>
  recordFromWire(jobId, sequence, wire.record.decode(bytes) as unknown as Fields);

function recordFromWire(jobId: string, sequence: number | null, fields: Fields): LogRecord {
  return {
    jobId,
    sequence: sequence ?? whole(fields.sequence),
    previous: whole(fields.previous),
    epoch: whole(fields.epoch),
    phase: choice(phases, fields.phase),
    attempt: whole(fields.attempt),
    tokenCount: whole(fields.tokenCount),
    atMs: whole(fields.atMs),
    event: eventFromWire(fields),
  };
}

function eventFromWire(record: Fields): JobEvent {
  const kind = record.event;
  const fields = typeof kind === "string" ? message(record[kind]) : {};
  switch (kind) {
    case "submitted":
      return { type: "submitted", request: requestFromWire(message(fields.request)) };
    case "claimed":
      return { type: "claimed", worker: text(fields.worker) };
    case "progress":
      return {
        type: "progress",
        done: whole(fields.done),
        total: whole(fields.total),
        stored: whole(fields.stored),
        ...(Object.hasOwn(fields, "cached") && { cached: whole(fields.cached) }),
      };
    case "tokens":
      return { type: "tokens", ...tokens(fields) };
    case "handedOver":
      return handedOver(fields);
    case "sentBack":
      return { type: "sent_back", reason: text(fields.reason) };
    case "released":
      return {
        type: "released",
        reason: text(fields.reason),
        ...(Object.hasOwn(fields, "excused") && { excused: boolean(fields.excused) }),
      };
    case "finished":
      return {
        type: "finished",
        reason: choice(reasons, fields.reason),
        usage: usage(message(fields.usage)),
        ...(Object.hasOwn(fields, "tokens") && { tokens: tokens(message(fields.tokens)) }),
      };
    case "failed":
      return { type: "failed", code: text(fields.code), message: text(fields.message) };
    case "cancelled":
      return { type: "cancelled", by: text(fields.by) };
    case "expired":
      return { type: "expired" };
    default:
      throw new Error("it holds no event that is known here");
  }
}

const tokens = (fields: Fields): Tokens => ({
  first: whole(fields.first),
  ids: ints(fields.ids),
  ...(list(fields.logprobs).length > 0 && { logprobs: list(fields.logprobs).map(logprobs) }),
});

const handedOver = (fields: Fields): JobEvent => ({
  type: "handed_over",
  token: floating(fields.token),
  boundary: whole(fields.boundary),
  cached: whole(fields.cached),
  recomputed: whole(fields.recomputed),
  ...(Object.hasOwn(fields, "logprobs") && { logprobs: logprobs(fields.logprobs) }),
});

function logprobs(value: unknown): TokenLogprobs {
  const fields = message(value);
  const top = list(fields.top).map(message);
  return { logprob: floating(fields.logprob), top: top.map(({ id, logprob }) => ({ id: floating(id), logprob: floating(logprob) })) };
}

const usage = ({ promptTokens, completionTokens, cachedTokens }: Fields): Usage => ({
  promptTokens: whole(promptTokens),
  completionTokens: whole(completionTokens),
  cachedTokens: whole(cachedTokens),
});
