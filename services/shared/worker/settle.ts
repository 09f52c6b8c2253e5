import type { Bus } from "../bus/contract.ts";
import { enqueue } from "../bus/enqueue.ts";
import type { JobEvent, Phase } from "../bus/events.ts";
import { ServingError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/log.ts";
import type { WorkerDeps } from "./deps.ts";
import type { HeldJob } from "./held-job.ts";
import { Interrupted } from "./interrupted.ts";

/**
 * Appends the event that ends our part, sends the next phase's message, then acks: whatever dies in between, a message
 * remains. `ready`: uploads the next worker would miss, under way while the event is appended.
 */
export async function passOn(bus: Bus, job: HeldJob, next: Phase, event: JobEvent, ready?: Promise<void>): Promise<void> {
  await job.end(event);
  await ready;
  await enqueue(bus.queue, next, job.jobId, job.request, job.ended?.sequence, job.log);
  job.message.ack();
}

export async function finish(job: HeldJob, event: JobEvent): Promise<void> {
  await job.end(event);
  job.message.ack();
}

/**
 * The one place that ends our part in a job whose work threw. After a lost claim we own nothing, so we touch nothing.
 */
export async function settle({ bus, log: parent }: Pick<WorkerDeps, "bus" | "log">, job: HeldJob, thrown: unknown): Promise<void> {
  const log = parent.child({ jobId: job.jobId, phase: job.claim.phase });
  const cause: unknown = job.signal.aborted ? job.signal.reason : thrown;
  if (job.ended !== null) return log.warn({ err: thrown }, "could not pass the job on; its message is left for another worker");
  try {
    if (cause instanceof Interrupted) await stopped(bus, job, cause);
    else await broken(log, job, ServingError.from(cause));
  } catch (error) {
    if (!(error instanceof Interrupted)) log.warn({ err: error }, "could not hand the job back: others take it over");
  }
}

async function stopped(bus: Bus, job: HeldJob, { why, message }: Interrupted): Promise<void> {
  switch (why) {
    case "lost":
      return;
    case "cancelled":
      return finish(job, { type: "cancelled", by: message });
    case "expired":
      return finish(job, { type: "expired" });
    case "yielded": // a message that is nacked would come first again
      return passOn(bus, job, job.claim.phase, { type: "released", reason: message, excused: true });
    case "drained":
    case "overtaken":
    case "crowded":
    case "waiting":
    case "away":
      await job.end({ type: "released", reason: message, excused: true });
      job.message.nak(why === "waiting" || why === "away" ? waitingMs(job.message.deliveries) : 0);
  }
}

/** An unforeseen error may be this worker's own trouble, so others may try; the attempts in the log bound that. */
async function broken(log: Logger, job: HeldJob, error: ServingError): Promise<void> {
  log.warn({ err: error }, "the work on a job failed");
  if (!error.retryable && error.code !== "INTERNAL") {
    return finish(job, { type: "failed", code: error.code, message: error.message });
  }
  const { attempt } = job.claim;
  await job.end({ type: "released", reason: error.message });
  job.message.nak(retryMs(attempt));
}

/**
 * Until a job that waits for another's segments, or for the record, looks again: 250 ms at first, then about a quarter
 * of the time it has waited already. A look costs two events and a load of the prefix, and many jobs may wait for one
 * long prefill.
 */
export const waitingMs = (looks: number): number => Math.min(250 * 1.25 ** Math.max(0, looks - 1), 15_000);

const RETRY_MS_MAX = 30_000;

/** Until a failed job is tried again: 250 ms, doubled with every attempt. */
export const retryMs = (attempt: number): number => Math.min(250 * 2 ** Math.min(20, Math.max(0, attempt - 1)), RETRY_MS_MAX);
