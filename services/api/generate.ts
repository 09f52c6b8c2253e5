import type { FastifyReply, FastifyRequest } from "fastify";
import type { JobRequest, Lane } from "../shared/bus/contract.ts";
import type { Delta } from "../shared/engine/chat/output.ts";
import { ServingError } from "../shared/runtime/errors.ts";
import type { Ending } from "./answer.ts";
import type { Body } from "./body.ts";
import type { ApiDeps } from "./deps.ts";
import { followAnswer, type Step, viewOf } from "./follow.ts";
import type { Prompt } from "./prompt.ts";
import type { GenerationRequest } from "./requests.ts";
import { openEventStream, type StreamEvent } from "./sse.ts";
import { bodyHash, type Submitted, submit } from "./submit.ts";
import { type Surface, surfaceOf } from "./surfaces.ts";

const U64 = 1n << 64n;

/** Puts the job into the record, or finds it there for a request that comes again; what follows only reads it. */
export async function submitJob(
  deps: ApiDeps,
  request: FastifyRequest<{ Body: Body }>,
  generation: GenerationRequest,
  prompt: Prompt,
  options: { readonly lane: Lane; readonly detached: boolean },
): Promise<Submitted> {
  const { bus, admission, model, config, clock, random } = deps;
  const room = model.contextTokens - prompt.ids.length;
  const maxTokens = generation.max_completion_tokens ?? generation.max_tokens ?? room;
  if (maxTokens > room) {
    const message = `the prompt has ${prompt.ids.length} tokens and max_tokens asks for ${maxTokens}; together ${model.name} takes ${model.contextTokens}`;
    throw new ServingError("CONTEXT_LENGTH", message, { param: "max_tokens", apiCode: "context_length_exceeded" });
  }
  const tenant = deps.authenticate(request.headers);
  const hash = bodyHash(request.url, request.body.raw);
  const key = idempotencyKeyOf(request);
  if (key === null && !options.detached && isRetry(request)) {
    const jobId = await deps.retries.lost(tenant, hash);
    if (jobId !== null) return { jobId, created: false };
  }
  const seconds = Math.min(generation.deadline_seconds ?? config.deadlineSeconds, config.deadlineSeconds);
  const job: Omit<JobRequest, "prompt" | "promptTokens" | "tenant"> = {
    model: model.name,
    lane: options.lane,
    maxTokens,
    sampling: {
      temperature: generation.temperature ?? model.sampling.temperature,
      topP: generation.top_p ?? model.sampling.topP,
      topK: generation.top_k ?? 0,
      minP: generation.min_p ?? 0,
      seed:
        generation.seed === undefined
          ? (BigInt(random.u32()) << 32n) | BigInt(random.u32())
          : ((BigInt(generation.seed) % U64) + U64) % U64,
    },
    stop: generation.stop === undefined ? [] : [generation.stop].flat(),
    stopIds: [...model.tokenizer.stopIds],
    deadlineMs: (await bus.log.nowMs()) + seconds * 1_000,
    detached: options.detached,
    view: JSON.stringify(prompt.view),
  };
  const submission = { tenant, request: job, ids: prompt.ids, idempotencyKey: key, bodyHash: hash };
  return submit({ bus, admission, random, clock }, options.detached ? submission : { ...submission, replica: deps.replica });
}

function idempotencyKeyOf({ headers: { "idempotency-key": key } }: Pick<FastifyRequest, "headers">): string | null {
  return typeof key === "string" && key !== "" ? key : null;
}

/** SDKs say so when they send a request again. */
const isRetry = ({ headers }: Pick<FastifyRequest, "headers">): boolean => Number(headers["x-stainless-retry-count"] ?? 0) >= 1;

/** Answers with the whole answer, or with the stream of it. */
export async function answer(
  deps: ApiDeps,
  reply: FastifyReply,
  { jobId, created }: Submitted,
  prompt: Prompt,
  generation: GenerationRequest,
): Promise<unknown> {
  const includeUsage = generation.stream_options?.include_usage === true;
  const view = created ? prompt.view : await viewOf(deps.bus, jobId);
  const surface = surfaceOf({ jobId, model: deps.model.name, view, fingerprint: deps.model.fingerprint }, includeUsage);
  reply.header("x-job-id", jobId);
  const leave = deps.readers.enter(jobId, { owned: created, detached: false });
  let ended = false;
  try {
    if (generation.stream === true) {
      ended = await stream(deps, reply, jobId, surface, 0);
      return reply;
    }
    const body = await whole(deps, reply, jobId, surface);
    ended = true;
    return body;
  } finally {
    leave(ended);
  }
}

async function whole(deps: ApiDeps, reply: FastifyReply, jobId: string, surface: Surface): Promise<unknown> {
  const gone = new AbortController();
  reply.raw.on("close", () => {
    if (!reply.raw.writableFinished) gone.abort(new ServingError("CANCELLED", "the reader left"));
  });
  const deltas: Delta[] = [];
  let end: Ending | null = null;
  for await (const step of followAnswer(deps.bus, deps.model.tokenizer, jobId, AbortSignal.any([gone.signal, deps.stopping]))) {
    deltas.push(...step.deltas);
    end = step.end;
  }
  if (end === null) throw new ServingError("INTERNAL", `the log of ${jobId} ended without an ending`);
  return surface.whole(deltas, end);
}

/**
 * The answer as server-sent events, ids `<job>:<sequence>`. `after`: what a reader who comes back has seen already; the id stands on the last
 * event of a record, so that nothing is lost where a record makes several. Resolves to whether the job ended while it was read.
 */
export async function stream(deps: ApiDeps, reply: FastifyReply, jobId: string, surface: Surface, after: number): Promise<boolean> {
  const { bus, model, config, stopping } = deps;
  const out = openEventStream(reply, config, surface.heartbeat);
  try {
    for await (const step of followAnswer(bus, model.tokenizer, jobId, AbortSignal.any([out.gone, stopping]))) {
      const events = eventsOf(surface, step);
      const { sequence } = step.record;
      if (sequence <= after) continue;
      for (const [i, event] of events.entries()) out.send({ ...event, ...(i === events.length - 1 ? { id: `${jobId}:${sequence}` } : {}) });
    }
    for (const event of surface.farewell) out.send(event);
    return true;
  } catch (error) {
    if (!out.gone.aborted) out.send(surface.failure(ServingError.from(error)));
    return false;
  } finally {
    out.end();
  }
}

function eventsOf(surface: Surface, { record: { event }, deltas, end }: Step): StreamEvent[] {
  if (event.type === "submitted") return surface.opening(event.request);
  if (event.type === "progress") return surface.progress(event);
  return [...surface.more(deltas), ...(end === null ? [] : surface.closing(end))];
}
