import type { Bus, JobEvent, JobRequest, LogRecord, Noted } from "../shared/bus/contract.ts";
import { isTerminal } from "../shared/bus/contract.ts";
import { holds } from "../shared/bus/standing.ts";
import { payloadKeys } from "./responses/view.ts";
import type { View } from "./view.ts";

/** What the index says of a job: enough to list it and to watch its deadline. */
export interface Note {
  readonly model: string;
  readonly tenant: string;
  readonly lane: string;
  readonly promptTokens: number;
  readonly submittedMs: number;
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

export const readNote = ({ text }: Noted): Note => JSON.parse(text) as Note;

/** Marks the job, nudges whoever holds it, and where nobody does ends it itself. Resolves to false if the job had ended or is unknown. */
export async function cancelJob(bus: Bus, jobId: string, by: string): Promise<boolean> {
  const first = await bus.log.last(jobId);
  if (first === null || isTerminal(first.event)) return false;
  await bus.registry.markCancelled(jobId, by);
  const last = (await bus.log.last(jobId)) ?? first;
  if (!holds(last.event) && !isTerminal(last.event)) await endJob(bus, last, { type: "cancelled", by });
  return true;
}

/** For those who hold no claim: ends a job if `last` is still its last event, and takes its message out of the queue. */
export async function endJob({ log, queue }: Bus, last: LogRecord, event: JobEvent): Promise<boolean> {
  if (!(await log.appendAfter(last, event))) return false;
  await queue.withdraw(last.phase, last.jobId).catch(() => {}); // or whoever pulls it drops it
  return true;
}

/** Everything that is kept of an ended job. The log goes after the payload that it names, the note last: it is what a purge that was cut short is found by. */
export async function deleteJob({ log, payloads, registry }: Bus, jobId: string): Promise<void> {
  const event = (await log.first(jobId))?.event;
  if (event?.type === "submitted") for (const key of payloadsOf(jobId, event.request)) await payloads.delete(key);
  await log.delete(jobId);
  await registry.forget(jobId);
}

const payloadsOf = (jobId: string, { prompt, view }: JobRequest): readonly string[] => [
  ...("payload" in prompt ? [prompt.payload] : []),
  ...payloadKeys(jobId, JSON.parse(view) as View),
];
