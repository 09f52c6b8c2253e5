import { viewOf } from "./answer/follow.ts";
import type { View } from "./answer/view.ts";
import { type ApiRequest, hashOf, idempotencyKeyOf, isRetry } from "./api-request.ts";
import { callerOf } from "./auth.ts";
import type { ApiDeps } from "./deps.ts";
import { cancelJob } from "./jobs/jobs.ts";
import { placesFor } from "./paying.ts";
import type { Prompt, WrittenPrompt } from "./prompt/prompt.ts";
import type { GenerationRequest } from "./requests.ts";
import type { Submitted } from "./submit.ts";
import { abandon, admissible, type SubmitOptions, submitJob } from "./submit-request.ts";

/** One of the answers that a request asked for. */
export interface Choice extends Submitted {
  readonly view: View;
  /** The job is an earlier request's that lost its reader: this one is its retry. */
  readonly joined?: true;
}

/** Puts a job for each answer that is asked for into the record, and only then resolves: all of them, or an error and none that runs on. */
export async function submitChoices(
  deps: ApiDeps,
  request: ApiRequest,
  generation: GenerationRequest,
  written: WrittenPrompt,
  options: SubmitOptions,
): Promise<readonly Choice[]> {
  const choices: Choice[] = [];
  const answers = generation.n ?? 1;
  const places = placesFor(deps, request, answers);
  let prompt: Prompt | null = null;
  try {
    for (let index = 0; index < answers; index++) choices.push(await submitChoice(index));
    return choices;
  } catch (error) {
    await giveUp(deps, request, choices);
    throw error;
  } finally {
    places.leave();
  }

  async function submitChoice(index: number): Promise<Choice> {
    const joined = await jobToJoin(deps, request, options, index);
    if (joined !== null) return { jobId: joined, joined: true, created: false, shared: true, view: await viewOf(deps.bus, joined) };
    prompt ??= await admissible(deps, request, generation, written, options, answers - index);
    const [first] = choices;
    const view = first === undefined ? prompt.view : { ...first.view, choice: { index, of: first.jobId } };
    const job = await submitJob(deps, request, generation, { ...prompt, view }, options, places);
    return { ...job, view: first === undefined && !job.created ? await viewOf(deps.bus, job.jobId) : view };
  }
}

/** What was made for a request of which another answer failed: nobody hears of it, but under its key, which a retry may come with. */
async function giveUp(deps: ApiDeps, request: ApiRequest, choices: readonly Choice[]): Promise<void> {
  const made = choices.filter(({ created }) => created);
  const cancel = async ({ jobId, giveBack }: Choice) => {
    giveBack?.();
    await cancelJob(deps.bus, jobId, "another choice of the same request was refused");
  };
  const ended = idempotencyKeyOf(request) === null ? await Promise.allSettled(made.map(cancel)) : [];
  for (const [i, { jobId }] of made.entries()) if (ended[i]?.status !== "fulfilled") abandon(deps, jobId);
}

/** The job that the same request asked for before, if it is sent again without a key and that has lost its reader. */
async function jobToJoin({ retries }: ApiDeps, request: ApiRequest, { detached }: SubmitOptions, index: number): Promise<string | null> {
  return detached || !isRetry(request) || idempotencyKeyOf(request) !== null
    ? null
    : retries.join(callerOf(request).tenant, hashOf(request, index));
}
