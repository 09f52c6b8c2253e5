import { expectedOutput } from "../shared/bus/enqueue.ts";
import type { Lane } from "../shared/bus/events.ts";
import { ServingError } from "../shared/runtime/errors.ts";
import type { Demand } from "./admission/admission.ts";
import { type ApiRequest, hashOf, idempotencyKeyOf, keyInRecord, ofChoice, onLeaving } from "./api-request.ts";
import { callerOf } from "./auth.ts";
import type { ApiDeps } from "./deps.ts";
import { placesFor } from "./paying.ts";
import { type Prompt, tokenized, type WrittenPrompt } from "./prompt/prompt.ts";
import type { GenerationRequest } from "./requests.ts";
import { writtenView } from "./responses/kept.ts";
import { samplingOf } from "./sampling.ts";
import { isThere, type Submission, type Submitted, submit } from "./submit.ts";

export interface SubmitOptions {
  readonly lane: Lane;
  readonly detached: boolean;
}

/**
 * The prompt as tokens, which are made only where it may be let in: to refuse must be cheap when there is much to refuse. What comes with the key of one
 * that is there, or being made here, needs no room. `answers`: as many as are to be let in. Throws what that would: RATE_LIMITED, OVERLOADED.
 */
export async function admissible(
  deps: ApiDeps,
  request: ApiRequest,
  generation: GenerationRequest,
  written: WrittenPrompt,
  options: SubmitOptions,
  answers = 1,
): Promise<Prompt> {
  const { admission, bus, limits } = deps;
  const { key, tenant } = callerOf(request);
  const own = keyInRecord(request);
  if (own === null || !(admission.making.has(own) || (await isThere(bus, own)))) {
    const promptTokens = written.atLeast();
    const job = {
      tenant,
      lane: options.lane,
      maxTokens: askedTokens(generation) ?? 1,
      promptTokens,
      deadlineMs: await deadlineOf(deps, generation),
    };
    if (key !== null) limits.require(key, { requests: 1, tokens: answers * (promptTokens + expectedOutput(job)) });
    await admission.require(job, answers);
  }
  return tokenized(written);
}

/** Puts the job into the record, or finds it there for a request that comes again with its key; what follows only reads it. */
export async function submitJob(
  deps: ApiDeps,
  request: ApiRequest,
  generation: GenerationRequest,
  prompt: Prompt,
  options: SubmitOptions,
  places = placesFor(deps, request, 1),
): Promise<Submitted> {
  const { admission, replica } = deps;
  const { tenant } = callerOf(request);
  const index = prompt.view.choice?.index ?? 0;
  const key = idempotencyKeyOf(request);
  const inRecord = keyInRecord(request);
  const submission = {
    ...jobOf(deps, generation, prompt, { ...options, deadlineMs: await deadlineOf(deps, generation) }),
    ...{ tenant, bodyHash: hashOf(request, index) },
    idempotencyKey: key === null ? null : ofChoice(key, index),
    enter: (job: Demand) => places.next(index, job),
    ...(inRecord !== null && { another: () => admission.making.wait(inRecord, (act) => onLeaving(request, act)) }),
    // One that is detached and has a key waits for whoever comes with it.
    ...(key !== null && options.detached ? {} : { abandon: (jobId: string) => abandon(deps, jobId) }),
  };
  return submit(deps, options.detached ? submission : { ...submission, replica });
}

async function deadlineOf({ bus, config }: ApiDeps, { deadline_seconds }: GenerationRequest): Promise<number> {
  return (await bus.log.nowMs()) + 1_000 * Math.min(deadline_seconds ?? config.deadlineSeconds, config.deadlineSeconds);
}

const askedTokens = ({ max_completion_tokens, max_tokens }: GenerationRequest): number | undefined => max_completion_tokens ?? max_tokens;

export const asksForUsage = ({ stream_options }: GenerationRequest): boolean => stream_options?.include_usage === true;

/** What the record is told of an answer, the one of `prompt.view.choice`. CONTEXT_LENGTH if prompt and answer do not fit the model. */
export function jobOf(
  { model, random }: Pick<ApiDeps, "model" | "random">,
  generation: GenerationRequest,
  prompt: Prompt,
  options: SubmitOptions & { readonly deadlineMs: number },
): Pick<Submission, "request" | "ids" | "payloads"> {
  const { ids } = prompt;
  const room = model.contextTokens - ids.length;
  const maxTokens = askedTokens(generation) ?? room;
  if (maxTokens > room) {
    const param = prompt.view.surface === "responses" ? "max_output_tokens" : "max_tokens";
    // Clients read the numbers out of these words, and ask for less.
    const message = `input length and \`${param}\` exceed context limit: ${ids.length} + ${maxTokens} > ${model.contextTokens} of ${model.name}; shorten the input or lower \`${param}\``;
    throw new ServingError("CONTEXT_LENGTH", message, { param, apiCode: "context_length_exceeded" });
  }
  const { text: view, payloads } = writtenView({ ...prompt.view, ...(asksForUsage(generation) && { usage: true }) });
  const request = {
    model: model.name,
    maxTokens,
    sampling: samplingOf(generation, model, random, prompt.view.choice?.index ?? 0),
    stop: generation.stop === undefined ? [] : [generation.stop].flat(),
    ...(prompt.constraint && { constraint: prompt.constraint }),
    stopIds: [...model.tokenizer.stopIds],
    ...options,
    view,
  };
  return { request, ids, payloads };
}

/** Whoever asked for the job may never come for it: as if its last reader had left. */
export const abandon = ({ readers }: ApiDeps, jobId: string): void => readers.enter(jobId, { owned: true, detached: false })(false);
