import type { JobObject } from "../api/jobs/job-object.ts";
import { ServingError } from "../shared/runtime/errors.ts";
import type { Client } from "./client.ts";

/** What the commands read of GET /v1/jobs/{id}. */
interface EndedJob extends JobObject {
  readonly result: {
    readonly choices?: ReadonlyArray<{ readonly message?: { readonly content: string | null }; readonly text?: string }>;
  } | null;
  readonly partial?: { readonly content: string | null } | null;
  readonly error: { readonly message: string } | null;
}

interface Answer {
  /** What was said; the result as JSON where that is no text: calls of tools, a response, an Anthropic message. */
  readonly text: string;
  readonly promptTokens: number;
  /** Of these, found in the store. */
  readonly cachedTokens: number;
  readonly answerTokens: number;
}

/** The answer of a job that ended. Throws with the job's own words if it ended in any other way; `onPartial` hears first what text came of it. */
export async function jobAnswer(client: Client, jobId: string, onPartial: (text: string) => void = () => {}): Promise<Answer> {
  const job = (await client.get(`/v1/jobs/${encodeURIComponent(jobId)}`)) as EndedJob;
  const { result, error, cache, partial } = job;
  if (partial?.content) onPartial(partial.content);
  if (error !== null || result === null) throw new ServingError("INTERNAL", `${jobId}: ${error?.message ?? "ended without a result"}`);
  const choice = result.choices?.[0];
  return {
    text: choice?.message?.content ?? choice?.text ?? JSON.stringify(choice?.message ?? result, null, 2),
    promptTokens: job.prompt_tokens,
    cachedTokens: cache?.matched_tokens ?? 0,
    answerTokens: job.output_tokens,
  };
}
