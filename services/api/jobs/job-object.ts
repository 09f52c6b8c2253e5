import { isTerminal, type JobRequest, type LogRecord } from "../../shared/bus/events.ts";
import { type FoundJob, unknownJob } from "../answer/follow.ts";
import type { ApiDeps } from "../deps.ts";
import { cacheUseOf, timelineOf } from "./timeline.ts";

/** A job, and all that its log says of it. */
export interface LoggedJob {
  readonly id: string;
  readonly request: JobRequest;
  readonly records: readonly LogRecord[];
  /** When the record stored each, by its sequence. */
  readonly storedMs: ReadonlyMap<number, number>;
  /** Of the cluster. */
  readonly segmentTokens: number;
}

export type JobObject = ReturnType<typeof jobObject>;

/** When a record was written (ms), by the record's clock: those of the writers may be minutes apart. `storedMs`: of the whole log, by sequence. */
const recordTime =
  (storedMs: ReadonlyMap<number, number>) =>
  ({ sequence, atMs }: LogRecord): number =>
    storedMs.get(sequence) ?? atMs;

/** All of a job's log. NOT_FOUND for one that was deleted since it was found. */
export async function readLogged({ bus, config }: Pick<ApiDeps, "bus" | "config">, { jobId: id, request }: FoundJob): Promise<LoggedJob> {
  const [records, storedMs] = await Promise.all([bus.log.read(id), bus.log.storedTimes(id)]);
  if (records.length === 0) throw unknownJob(id);
  return { id, request, records, storedMs, segmentTokens: config.segmentTokens };
}

/** A job as `GET /v1/jobs/{id}` tells it, but for the answer. */
export function jobObject(job: LoggedJob) {
  const { request, records, storedMs, segmentTokens } = job;
  const atMs = recordTime(storedMs);
  const claims = records.filter(({ event }) => event.type === "claimed");
  return {
    ...jobSummary(job),
    attempts: claims.map((claim) => ({
      phase: claim.phase,
      worker: claim.event.type === "claimed" ? claim.event.worker : "",
      at: Math.floor(atMs(claim) / 1_000),
    })),
    timeline: timelineOf(records, atMs),
    cache: cacheUseOf({ promptTokens: request.promptTokens, segmentTokens }, records),
  };
}

/** What every surface tells of a job. */
export function jobSummary({ id, request, records, storedMs }: LoggedJob) {
  const last = records.at(-1)!;
  const atMs = recordTime(storedMs);
  const seconds = (record: LogRecord) => Math.floor(atMs(record) / 1_000);
  return {
    id,
    object: "job",
    model: request.model,
    lane: request.lane,
    status: statusOf(last),
    created_at: seconds(records[0]!),
    ended_at: isTerminal(last.event) ? seconds(last) : null,
    deadline_at: Math.floor(request.deadlineMs / 1_000),
    prompt_tokens: request.promptTokens,
    output_tokens: last.tokenCount,
    prefill: prefillOf(request, records),
  };
}

/** Where a job stands after a record, in one word. */
export function statusOf({ event: { type }, phase }: LogRecord): string {
  if (type === "submitted" || type === "released" || type === "sent_back") return "queued";
  if (type === "claimed" || type === "progress") return phase === "prefill" ? "prefill" : "decode";
  return type === "handed_over" || type === "tokens" ? "decode" : type;
}

/** How far the prompt is, in tokens. */
export interface Prefill {
  readonly done: number;
  readonly total: number;
  readonly cached: number;
}

/** What a record says of it, if anything: the progress of a decode worker is of what it computes again. */
export function prefillIn({ event, phase }: LogRecord, promptTokens: number): Prefill | null {
  if (event.type === "handed_over") return { done: promptTokens, total: promptTokens, cached: event.cached };
  if (event.type !== "progress" || phase !== "prefill") return null;
  return { done: event.done, total: event.total, cached: event.cached ?? 0 };
}

/** Null until a worker says so. */
export function prefillOf({ promptTokens }: JobRequest, records: readonly LogRecord[]): Prefill | null {
  const last = records.findLast((record) => prefillIn(record, promptTokens) !== null);
  return last === undefined ? null : prefillIn(last, promptTokens);
}
