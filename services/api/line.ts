import type { Endpoint } from "../shared/batches/batch.ts";
import { ServingError } from "../shared/runtime/errors.ts";
import { viewOf } from "./answer/follow.ts";
import { surfaceOf } from "./answer/surfaces.ts";
import type { ApiDeps } from "./deps.ts";
import { askedOf } from "./endpoints.ts";
import type { Body } from "./http/body.ts";
import type { Shown } from "./http/respond.ts";
import { cancelJob } from "./jobs/jobs.ts";
import { tokenized } from "./prompt/prompt.ts";
import { CHOICES_MAX } from "./requests.ts";
import { submit } from "./submit.ts";
import { jobOf } from "./submit-request.ts";

/** A request that came as a line of a file. */
export interface Line {
  readonly tenant: string;
  readonly endpoint: Endpoint;
  /** The id of the job of each of its answers: whoever asks again asks for the same jobs. */
  readonly jobId: (index: number) => string;
  /** By the record's clock: when it was first tried, and its end if it does not ask for an earlier one. */
  readonly sinceMs: number;
  readonly deadlineMs: number;
}

export type LineDeps = Pick<ApiDeps, "bus" | "admission" | "model" | "config" | "clock" | "random" | "stopping">;

/** The jobs of a line, one for each of its answers: made once, and submitted until there is room for them. */
export interface LineJobs {
  readonly jobs: readonly ReturnType<typeof jobOf>[];
  readonly deadlineMs: number;
}

/** Throws what the line's endpoint answers to a bad request. */
export async function jobsOf(deps: LineDeps, line: Line, body: Body): Promise<LineJobs> {
  const { generation, prompt: written } = await askedOf[line.endpoint](deps, line.tenant, body);
  const prompt = await tokenized(written);
  const deadlineMs = Math.min(line.deadlineMs, line.sinceMs + 1_000 * (generation.deadline_seconds ?? Number.POSITIVE_INFINITY));
  const jobs = Array.from({ length: generation.n ?? 1 }, (_, index) => {
    const view = index === 0 ? prompt.view : { ...prompt.view, choice: { index, of: line.jobId(0) } };
    return jobOf(deps, generation, { ...prompt, view }, { lane: "batch", detached: true, deadlineMs });
  });
  return { jobs, deadlineMs };
}

/** Puts the jobs of a line into the record, or finds them there. OVERLOADED and UNAVAILABLE: what is there stays, and the next try goes on from it. */
export async function submitLine(deps: LineDeps, line: Line, { jobs, deadlineMs }: LineJobs): Promise<readonly string[]> {
  if ((await deps.bus.log.nowMs()) >= deadlineMs) throw new ServingError("DEADLINE", "there was no room for this line before its deadline");
  const jobIds = jobs.map((_, index) => line.jobId(index));
  for (const [index, job] of jobs.entries())
    await submit(deps, {
      ...job,
      ...{ tenant: line.tenant, jobId: jobIds[index]!, idempotencyKey: null },
      bodyHash: "", // tells bodies under one key from each other, and there is none
    });
  return jobIds;
}

/** The jobs of a line that are in the record already, those whose logs cannot be read included. */
export async function submittedJobs({ bus }: LineDeps, { jobId }: Pick<Line, "jobId">): Promise<readonly string[]> {
  const jobIds: string[] = [];
  while (jobIds.length < CHOICES_MAX && (await bus.log.lastStored(jobId(jobIds.length))) !== null) jobIds.push(jobId(jobIds.length));
  return jobIds;
}

/** How the answer to a line is shown, as it was asked for when its jobs were submitted. */
export async function shownLine(
  { bus, model: { name: model, fingerprint } }: LineDeps,
  jobIds: readonly string[],
): Promise<readonly Shown[]> {
  const views = await Promise.all(jobIds.map((jobId) => viewOf(bus, jobId)));
  return jobIds.map((jobId, i) => ({ jobId, surface: surfaceOf({ jobId, model, view: views[i]!, fingerprint }, false) }));
}

/** What a token of an answer and each of its log probabilities take while it is read and shown, at most about: mostly objects of the body, and its text. */
const TOKEN_BYTES = 32;
const LOGPROB_BYTES = 300;

/** Waits for the end of a line's answers, and holds nothing of them meanwhile. Resolves to about how many bytes it takes to show them. */
export async function endedBytes({ bus }: LineDeps, jobIds: readonly string[], signal: AbortSignal): Promise<number> {
  let bytes = 0;
  for (const jobId of jobIds) {
    let [each, tokens] = [TOKEN_BYTES, 0];
    for await (const { event, tokenCount } of bus.log.follow(jobId, 0, signal)) {
      const top = event.type === "submitted" ? event.request.sampling.topLogprobs : undefined;
      if (top !== undefined) each += LOGPROB_BYTES * (1 + top);
      tokens = tokenCount;
    }
    bytes += each * tokens;
  }
  return bytes;
}

/** What has ended stays as it did. */
export async function cancelLine({ bus }: LineDeps, jobIds: readonly string[], by: string): Promise<void> {
  await Promise.all(jobIds.map((jobId) => cancelJob(bus, jobId, by)));
}
