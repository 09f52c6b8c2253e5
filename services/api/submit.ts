import { createHash } from "node:crypto";
import type { Bus, JobRequest } from "../shared/bus/contract.ts";
import type { Clock } from "../shared/runtime/clock.ts";
import { ServingError } from "../shared/runtime/errors.ts";
import type { Random } from "../shared/runtime/random.ts";

/** Prompts above this travel as a payload, not inside the event. */
const INLINE_TOKENS_MAX = 16_384;

export interface Submission {
  readonly tenant: string;
  readonly request: Omit<JobRequest, "prompt" | "promptTokens" | "tenant">;
  readonly ids: Int32Array;
  /** Same key, same tenant: the same job. With another body: CONFLICT. */
  readonly idempotencyKey: string | null;
  /** Digest of the body as it was sent, to tell one body from another. */
  readonly bodyHash: string;
}

export interface SubmitDeps {
  readonly bus: Bus;
  readonly random: Random;
  readonly clock: Clock;
  readonly queueJobsMax: number;
}

export const bodyHash = (body: unknown): string => createHash("sha256").update(JSON.stringify(body)).digest("base64url");

/** Puts a job into the record and into the prefill queue, in this order, and only then returns its id (I1). */
export async function submit(deps: SubmitDeps, submission: Submission): Promise<string> {
  const { jobId, known } = await jobIdFor(deps, submission);
  if (known && (await deps.bus.log.last(jobId)) !== null) return jobId;
  await admit(deps, submission.request.model);
  const { bus } = deps;
  const { ids, request, tenant } = submission;
  const prompt = ids.length <= INLINE_TOKENS_MAX ? { ids } : { payload: jobId };
  if ("payload" in prompt) await bus.payloads.put(jobId, new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength));
  const job: JobRequest = { ...request, tenant, prompt, promptTokens: ids.length };
  await bus.log.submit(jobId, job);
  await bus.queue.publish("prefill", job.model, job.lane, { jobId, promptTokens: ids.length });
  const summary = { model: job.model, promptTokens: ids.length, lane: job.lane, tenant, submittedMs: deps.clock.nowMs() };
  await bus.registry.noteJob(jobId, JSON.stringify(summary));
  return jobId;
}

async function jobIdFor(
  { bus, random }: SubmitDeps,
  { tenant, idempotencyKey, bodyHash }: Submission,
): Promise<{ jobId: string; known: boolean }> {
  const jobId = random.id("job_");
  if (idempotencyKey === null) return { jobId, known: false };
  const key = createHash("sha256")
    .update(JSON.stringify([tenant, idempotencyKey]))
    .digest("base64url");
  const earlier = await bus.registry.remember(key, JSON.stringify({ jobId, bodyHash }));
  if (earlier === null) return { jobId, known: false };
  const found = JSON.parse(earlier) as { jobId: string; bodyHash: string };
  if (found.bodyHash !== bodyHash) {
    throw new ServingError("CONFLICT", "this Idempotency-Key was used with another body; use a new key for a new request", {
      apiCode: "idempotency_conflict",
    });
  }
  return { jobId: found.jobId, known: true };
}

async function admit({ bus, queueJobsMax }: SubmitDeps, model: string): Promise<void> {
  if ((await bus.queue.depth("prefill", model)) < queueJobsMax) return;
  throw new ServingError("OVERLOADED", `${queueJobsMax} jobs are waiting already; try again later`, { apiCode: "rate_limit_exceeded" });
}
