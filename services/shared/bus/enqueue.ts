import { createHash } from "node:crypto";
import type { JobQueue } from "./contract.ts";
import type { JobRequest, LogRecord, Phase } from "./events.ts";

/** The most tokens an answer counts in the backlog: few use all they may have. */
const OUTPUT_TOKENS_EXPECTED = 1_024;

export const expectedOutput = ({ maxTokens }: Pick<JobRequest, "maxTokens">): number => Math.min(maxTokens, OUTPUT_TOKENS_EXPECTED);

/** A tenant as the queue knows it: 48 bits of a digest, which tell the jobs of one from those of another. */
export const ownerOf = (tenant: string): string => createHash("sha256").update(tenant).digest("hex").slice(0, 12);

/**
 * Sends the message of a job that waits in `phase`. `follows`: sequence of the log record it follows; without it, the
 * message is sent whatever was sent before. A message too many is harmless: the worker that pulls it sees in the log
 * that there is nothing to do. `log`: all of it, if the caller happens to know it.
 */
export async function enqueue(
  queue: JobQueue,
  phase: Phase,
  jobId: string,
  request: JobRequest,
  follows?: number,
  log?: readonly LogRecord[],
): Promise<void> {
  const { model, lane, promptTokens, tenant } = request;
  const item = { jobId, promptTokens, outputTokens: expectedOutput(request), owner: ownerOf(tenant) };
  await queue.publish(phase, model, lane, { ...item, ...(follows !== undefined && { follows }), ...(log !== undefined && { log }) });
}
