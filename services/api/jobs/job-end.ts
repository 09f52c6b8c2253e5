import { z } from "zod";
import { tellingShape } from "../../shared/batches/batch.ts";
import { readDocument } from "../../shared/batches/document.ts";
import type { Document } from "../../shared/bus/contract.ts";
import type { JobRequest, LogRecord } from "../../shared/bus/events.ts";
import { submittedView } from "../answer/view.ts";
import { answerId } from "../ids.ts";

const jobEndShape = z.object({
  type: z.string(),
  /** What the client knows the job by. */
  id: z.string(),
  /** Unix seconds. */
  endedAt: z.number(),
  /** Null once it was told or given up. */
  webhook: tellingShape.nullable(),
});

/** The end of a job as webhooks tell it: a document of kind "event" under the job's id, kept as long as the job, so that no end is told anew. */
export type JobEnd = Readonly<z.infer<typeof jobEndShape>>;

/** Throws DAMAGED. */
export const jobEndOf = (document: Document): JobEnd => readDocument(jobEndShape, document);

/** Whether the end of a job is told on its own: nobody need read it, and it is no line of a batch. */
export const isTold = ({ detached, lane }: JobRequest): boolean => detached && lane !== "batch";

/** What is to be told of a job that ended, at `endedMs` by the record's clock. */
export function endOf({ jobId, event }: LogRecord, request: JobRequest, endedMs: number): JobEnd {
  const response = submittedView(request).surface === "responses";
  const type = response ? `response.${responseStatus(event)}` : `job.${event.type}`;
  return {
    type,
    id: response ? answerId("responses", jobId) : jobId,
    endedAt: Math.floor(endedMs / 1_000),
    webhook: { tries: 0, nextAt: 0 },
  };
}

/** Longer than any that a try writes in its place: where a bucket is full, nats-server 2.9 drops its oldest documents for one that grows. */
export const endText = (end: JobEnd): string => JSON.stringify(end) + " ".repeat(32);

/** As `ResponseWriter` shows it. */
function responseStatus(event: LogRecord["event"]): "completed" | "incomplete" | "cancelled" | "failed" {
  if (event.type === "finished") return event.reason === "length" ? "incomplete" : "completed";
  return event.type === "cancelled" ? "cancelled" : "failed";
}
