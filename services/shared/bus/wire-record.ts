import type { JobEvent, LogRecord, Phase, TokenLogprobs, Tokens, Usage } from "./events.ts";
import { boolean, choice, type Fields, floating, ints, list, message, text, whole } from "./fields.ts";
import { requestFromWire, requestToWire } from "./wire-request.ts";

const phases: readonly Phase[] = ["prefill", "decode"];
const reasons = ["stop", "length"] as const;

/** A record as a protobuf message, without sequence and job, which are the stream message's own. */
export function recordToWire(record: LogRecord): object {
  const { event, previous, epoch, attempt, tokenCount, atMs } = record;
  const body = event.type === "submitted" ? { request: requestToWire(event.request) } : eventToWire(event);
  const phase = phases.indexOf(record.phase);
  return { previous, epoch, phase, attempt, tokenCount, atMs, [fieldOf(event.type)]: body };
}

const fieldOf = (type: JobEvent["type"]): string => (type === "handed_over" ? "handedOver" : type === "sent_back" ? "sentBack" : type);

const eventToWire = (event: JobEvent): object => (event.type === "finished" ? { ...event, reason: reasons.indexOf(event.reason) } : event);

/** `sequence` null: it is among the fields. Throws if one of them is not what it must be. */
export function recordFromWire(jobId: string, sequence: number | null, fields: Fields): LogRecord {
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
      throw new Error("it holds no event known to this version");
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
