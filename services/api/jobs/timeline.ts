import type { JobEvent, LogRecord } from "../../shared/bus/events.ts";
import { WAITS_FOR_PREFIX } from "../../shared/bus/reasons.ts";
import { redactedEvent } from "../redact.ts";

/** One stretch of a job's life, as `GET /v1/jobs/{id}` tells it. */
export interface Stage {
  /** `queued`: before a worker has it. `hand_over`: between the end of prefill and the decode worker. */
  readonly stage: "queued" | "prefill" | "hand_over" | "decode" | "ended";
  /** Seconds since 1970, by the record's clock. */
  readonly at: number;
  /** How long it took; null while it lasts. */
  seconds: number | null;
  /** Why it waits, or how it ended. */
  readonly why?: string;
  readonly worker?: string;
  /** Prefill: prompt tokens, at its beginning (found in the cache or stored before) and by now. */
  from?: number;
  done?: number;
  total?: number;
  /** Hand-over: where the boundary lies, and tokens run again because none was stored where the cache ended. */
  readonly boundary?: number;
  readonly recomputed?: number;
  /** Decode: tokens of the answer. */
  tokens?: number;
  /** The event that ended a worker's part; `lost`: nothing was heard of it any more, and another took over. */
  outcome?: string;
}

/** Stages that are told: of a job that was handed back more often, the latest. */
const STAGES_MAX = 256;

/** The life of a job as its tenant may read it, from its log alone. `storedMs`: when a record was stored, by the record's clock. */
export function timelineOf(records: readonly LogRecord[], storedMs: (record: LogRecord) => number): readonly Stage[] {
  const stages: Stage[] = [];
  for (const record of records) {
    const at = storedMs(record) / 1_000;
    const next = stageAfter(record, at);
    const open = stages.at(-1);
    if (open !== undefined) grow(open, record.event);
    if (next === null) continue;
    if (open !== undefined) close(open, record.event, at);
    stages.push(next);
  }
  return stages.slice(-STAGES_MAX);
}

/** The stage that begins with a record; null where the one before lasts. */
function stageAfter({ event: logged, phase }: LogRecord, at: number): Stage | null {
  const event = redactedEvent(logged);
  const begun = { at, seconds: null };
  switch (event.type) {
    case "submitted":
      return { stage: "queued", ...begun, why: "submitted" };
    case "released":
    case "sent_back":
      return { stage: "queued", ...begun, why: event.reason };
    case "claimed":
      return phase === "prefill"
        ? { stage: "prefill", ...begun, worker: event.worker }
        : { stage: "decode", ...begun, worker: event.worker, tokens: 0 };
    case "handed_over":
      return { stage: "hand_over", ...begun, boundary: event.boundary, recomputed: event.recomputed };
    case "progress":
    case "tokens":
      return null;
    default:
      return { stage: "ended", ...begun, seconds: 0, why: whyOf(event) };
  }
}

function grow(stage: Stage, event: JobEvent): void {
  if (stage.stage === "prefill" && event.type === "progress") {
    stage.from ??= event.done;
    stage.done = event.done;
    stage.total = event.total;
  }
  if (stage.stage === "prefill" && event.type === "handed_over") {
    stage.from ??= event.cached;
    stage.done = event.boundary;
    stage.total = event.boundary;
  }
  const tokens = event.type === "tokens" ? event : event.type === "finished" ? event.tokens : undefined;
  if (stage.tokens !== undefined) stage.tokens += tokens?.ids.length ?? 0;
}

function close(stage: Stage, { type }: JobEvent, at: number): void {
  stage.seconds = Math.max(0, Math.round(1_000 * (at - stage.at)) / 1_000);
  if (stage.worker !== undefined) stage.outcome = type === "claimed" ? "lost" : type;
}

function whyOf(event: JobEvent): string {
  if (event.type === "finished") return event.reason;
  if (event.type === "failed") return `${event.code}: ${event.message}`;
  return event.type === "cancelled" ? event.by : "the deadline passed";
}

/** What the cache did for a job. */
export interface CacheUse {
  readonly prompt_tokens: number;
  /** Of the prompt, tokens whose rows were stored before the job computed any. */
  readonly matched_tokens: number;
  /** `cache`: others had stored them. `another_job`: they were being computed, and this job waited for them. Null: nothing was found. */
  readonly source: "cache" | "another_job" | null;
  /** Tokens run again because no boundary was stored at the end of what was found; null until prefill is over. */
  readonly recomputed_tokens: number | null;
  /** Why the rest had to be computed; null where there was no whole segment left. */
  readonly miss: { readonly reason: MissReason; readonly message: string } | null;
}

type MissReason = "prompt_too_short" | "nothing_stored" | "prefix_ends" | "segments_gone";

/** Null until a worker has looked. */
export function cacheUseOf(
  { promptTokens, segmentTokens }: { readonly promptTokens: number; readonly segmentTokens: number },
  records: readonly LogRecord[],
): CacheUse | null {
  const looked = records.findIndex(({ event }) => cachedIn(event) !== undefined);
  if (looked < 0) return null;
  const matched = cachedIn(records[looked]!.event)!;
  const waited = records.slice(0, looked).some(({ event }) => event.type === "released" && event.reason === WAITS_FOR_PREFIX);
  const handedOver = records.find(({ event }) => event.type === "handed_over")?.event;
  return {
    prompt_tokens: promptTokens,
    matched_tokens: matched,
    source: matched === 0 ? null : waited ? "another_job" : "cache",
    recomputed_tokens: handedOver?.type === "handed_over" ? handedOver.recomputed : null,
    miss: missOf(matched, promptTokens, segmentTokens, records),
  };
}

const cachedIn = (event: JobEvent): number | undefined =>
  event.type === "progress" || event.type === "handed_over" ? event.cached : undefined;

function missOf(matched: number, promptTokens: number, segmentTokens: number, records: readonly LogRecord[]): CacheUse["miss"] {
  const gone = records.find(({ event }) => event.type === "sent_back")?.event;
  if (gone?.type === "sent_back") return { reason: "segments_gone", message: `${gone.reason}; they were computed again` };
  // The last token of a prompt is always run: what follows it is drawn from there.
  const cacheable = Math.floor((promptTokens - 1) / segmentTokens) * segmentTokens;
  if (matched >= cacheable && cacheable > 0) return null;
  if (cacheable === 0)
    return {
      reason: "prompt_too_short",
      message: `the cache holds whole segments of ${segmentTokens} tokens, and this prompt is no longer than one`,
    };
  if (matched === 0)
    return { reason: "nothing_stored", message: "no prefix of this prompt is stored: it is new to this tenant, or was evicted" };
  return { reason: "prefix_ends", message: `the stored prefix ends at token ${matched}: from there on the prompt is new, or was evicted` };
}
