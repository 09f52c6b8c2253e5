import type { Bus, JobLog, Noted } from "../../shared/bus/contract.ts";
import { isDamaged } from "../../shared/bus/damage.ts";
import { isTerminal, type JobEvent, type JobRequest, type LogRecord, type StoredRecord } from "../../shared/bus/events.ts";
import { holds } from "../../shared/bus/standing.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import { parsed } from "../../shared/runtime/json.ts";
import { submittedView } from "../answer/view.ts";
import { payloadKeys } from "../responses/kept.ts";
import { isTold } from "./job-end.ts";

/** What the index says of a job: enough to list it and to watch its deadline. */
export interface Note {
  readonly model: string;
  readonly tenant: string;
  readonly lane: string;
  readonly promptTokens: number;
  readonly deadlineMs: number;
  /** Of a job with a reader: the digest of the body it was asked for with, and the replica that took it. */
  readonly body?: string;
  readonly replica?: string;
}

/** Why a job failed, for whoever looks after the cluster. */
export interface Failure {
  readonly model: string;
  readonly tenant: string;
  readonly code: string;
  readonly message: string;
  /** Claims in a row that led nowhere, and all claims. */
  readonly attempt: number;
  readonly claims: number;
}

/** Null for what is no note: nobody's job shall suffer from it. */
export const readNote = ({ text }: Noted): Note | null => parsed<Note>(text);

/** The request of a job; null for one that is gone, or whose beginning cannot be read. */
export async function requestOf(log: JobLog, jobId: string): Promise<JobRequest | null> {
  const first = await log.first(jobId).catch((thrown: unknown) => {
    if (isDamaged(thrown)) return null;
    throw thrown;
  });
  return first?.event.type === "submitted" ? first.event.request : null;
}

/** Marks the job, nudges whoever holds it, and where nobody does ends it itself. Resolves to false if the job had ended or is unknown. */
export async function cancelJob(bus: Bus, jobId: string, by: string): Promise<boolean> {
  const before = await bus.log.lastStored(jobId);
  if (before === null || hasEnded(before)) return false;
  await bus.registry.markCancelled(jobId, by);
  const { record } = (await bus.log.lastStored(jobId)) ?? before;
  if (record !== null && !holds(record.event) && !isTerminal(record.event)) await endJob(bus, record, { type: "cancelled", by });
  return true;
}

export const hasEnded = ({ record }: StoredRecord): boolean => record !== null && isTerminal(record.event);

/** For those who hold no claim: ends a job if `last` is still its last event, and takes its messages out of the queues. */
export async function endJob({ log, queue }: Bus, last: LogRecord | StoredRecord, event: JobEvent): Promise<boolean> {
  if (!(await log.appendAfter(last, event))) return false;
  const phases = "phase" in last ? [last.phase] : (["prefill", "decode"] as const); // where it stood cannot be read
  await Promise.all(phases.map((phase) => queue.withdraw(phase, last.jobId))).catch(() => {}); // or whoever pulls it drops it
  return true;
}

/** Deletes a job that its client calls `name`; one whose log cannot be read is ended first. CONFLICT for one that may be at work. */
export async function deleteEnded(bus: Bus, jobId: string, name: string): Promise<void> {
  const last = await bus.log.lastStored(jobId);
  if (last?.record === null) await endJob(bus, last, { type: "cancelled", by: "a request to delete it" });
  else if (last !== null && !hasEnded(last)) throw new ServingError("CONFLICT", `${name} has not ended; cancel it, then delete it`);
  await deleteJob(bus, jobId);
}

/** Everything that is kept of an ended job. The log goes after the payload that it names, the note last: it is what a purge that was cut short is found by. */
export async function deleteJob({ log, payloads, documents, registry }: Bus, jobId: string): Promise<void> {
  const request = await requestOf(log, jobId);
  for (const key of payloadsOf(jobId, request)) await payloads.delete(key);
  if (request !== null && isTold(request)) await documents.delete("event", request.tenant, jobId);
  await log.delete(jobId);
  await registry.forget(jobId);
}

/** All that a job may have where its request cannot be read. */
function payloadsOf(jobId: string, request: JobRequest | null): readonly string[] {
  if (request === null) return [jobId, ...payloadKeys(jobId, null)];
  const { prompt } = request;
  return [...("payload" in prompt ? [prompt.payload] : []), ...payloadKeys(jobId, submittedView(request))];
}
