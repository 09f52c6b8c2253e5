import { createHash } from "node:crypto";
import type { JobQueue } from "./contract.ts";
import type { JobRequest, LogRecord, Phase } from "./events.ts";

/** What an answer counts in the backlog at most: few use all the tokens they may have. */
const OUTPUT_TOKENS_EXPECTED = 1_024;

export const expectedOutput = ({ maxTokens }: Pick<JobRequest, "maxTokens">): number => Math.min(maxTokens, OUTPUT_TOKENS_EXPECTED);

/** What the queue knows of a tenant: 48 bits of a digest, so that jobs of one can be told from those of another. */
export const ownerOf = (tenant: string): string => createHash("sha256").update(tenant).digest("hex").slice(0, 12);

/**
 * Sends the message of a job that waits in `phase`. `follows`: sequence of the log record it follows; without one it is sent whatever was sent before.
 * One more than there is need for is harmless: whoever pulls it sees in the log that there is nothing to do. `log`: all of it, where the
 * caller happens to know it.
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
