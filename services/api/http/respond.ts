import type { FastifyReply } from "fastify";
import { ServingError } from "../../shared/runtime/errors.ts";
import { linked } from "../../shared/runtime/pause.ts";
import type { Ending } from "../answer/answer.ts";
import { type FoundJob, followAnswer, type Step } from "../answer/follow.ts";
import { GrowingAnswer } from "../answer/growing-answer.ts";
import type { Surface } from "../answer/surface.ts";
import { surfaceOf } from "../answer/surfaces.ts";
import type { Choice } from "../choices.ts";
import type { ApiDeps } from "../deps.ts";
import { rateHeaders } from "../keys/rate-headers.ts";
import type { GenerationRequest } from "../requests.ts";
import { asksForUsage } from "../submit-request.ts";
import { dropBody } from "./body.ts";
import { interleaved } from "./interleaved.ts";
import { openEventStream, type StreamEvent, whenLeft } from "./sse.ts";

/** An answer that is read, and how it is shown. */
export interface Shown extends Pick<Choice, "jobId" | "log"> {
  readonly surface: Surface;
}

/** Answers with the whole answer, or with the stream of it. What was asked is in the record by now, and is not held here meanwhile. */
export function answer(
  deps: ApiDeps,
  reply: FastifyReply,
  choices: readonly Choice[],
  generation: GenerationRequest,
  detached = false,
): Promise<unknown> {
  dropBody(reply.request);
  return answered(deps, reply, choices, { streams: generation.stream === true, includeUsage: asksForUsage(generation), detached });
}

async function answered(
  deps: ApiDeps,
  reply: FastifyReply,
  choices: readonly Choice[],
  { streams, includeUsage, detached }: { readonly streams: boolean; readonly includeUsage: boolean; readonly detached: boolean },
): Promise<unknown> {
  const { name: model, fingerprint } = deps.model;
  const shown = choices.map(({ view, ...job }) => ({
    ...job,
    surface: surfaceOf({ jobId: job.jobId, model, view, fingerprint }, includeUsage),
  }));
  reply.header("x-job-id", choices.map(({ jobId }) => jobId).join(", "));
  const leaves = choices.map(({ jobId, created, shared }) => deps.readers.enter(jobId, { owned: created, shared, detached }));
  let ended: ReadonlySet<string> = new Set();
  try {
    if (streams) {
      ended = await stream(deps, reply, shown, 0);
      return reply;
    }
    const body = await whole(deps, reply, shown);
    ended = new Set(choices.map(({ jobId }) => jobId));
    return body;
  } finally {
    for (const [i, { jobId, joined }] of choices.entries()) {
      leaves[i]!(ended.has(jobId));
      if (joined && ended.has(jobId)) void deps.retries.answered(jobId).catch(() => {}); // at worst it is given again within the grace
    }
  }
}

async function whole(deps: ApiDeps, reply: FastifyReply, shown: readonly Shown[]): Promise<unknown> {
  const gone = new AbortController();
  whenLeft(reply.raw, () => {
    if (!reply.raw.writableFinished) gone.abort(new ServingError("CANCELLED", "the reader left"));
  });
  return (await wholeOf(deps, shown, gone.signal)).body;
}

/** Answers are larger than whoever waits for them would hold meanwhile. */
export class LargeAnswers extends Error {
  override readonly name = "LargeAnswers";
}

/** The answers of one request in one body, once all have ended, and how they did. Throws what one of them failed with; LargeAnswers beyond `bytesMax`. */
export async function wholeOf(
  deps: Pick<ApiDeps, "bus" | "model" | "stopping">,
  shown: readonly Shown[],
  signal: AbortSignal,
  bytesMax = Number.POSITIVE_INFINITY,
): Promise<{ readonly body: object; readonly ends: readonly Ending[] }> {
  const growing = shown.map(() => new GrowingAnswer());
  for await (const [i, step] of followed(deps, shown, signal)) {
    growing[i]!.add(step);
    if (growing.reduce((sum, { bytes }) => sum + bytes, 0) > bytesMax) throw new LargeAnswers();
  }
  const answers = shown.map(({ jobId }, index) => growing[index]!.whole(jobId, index));
  return { body: shown[0]!.surface.whole(answers), ends: answers.map(({ end }) => end) };
}

/**
 * The answers as server-sent events, ids `<job>:<sequence>`. `after`: what a reader who comes back has seen already; the id stands on the last
 * event of a record, so that nothing is lost where a record makes several. Resolves to the jobs that ended while they were read.
 */
async function stream(deps: ApiDeps, reply: FastifyReply, shown: readonly Shown[], after: number): Promise<ReadonlySet<string>> {
  const out = openEventStream(reply.headers(rateHeaders(deps, reply.request)), deps.config, () => shown[0]!.surface.heartbeat);
  const ends = new Map<string, NonNullable<Step["end"]>>();
  try {
    for await (const [i, step] of followed(deps, shown, out.gone)) {
      const { jobId, surface } = shown[i]!;
      const { sequence } = step.record;
      if (step.end !== null) ends.set(jobId, step.end);
      const isLast = step.end !== null && ends.size === shown.length;
      const usage = isLast ? surface.usage(shown.map(({ jobId }) => ends.get(jobId)!)) : []; // in order: the prompt's is the first one's
      const events = [...eventsOf(surface, step), ...usage];
      if (sequence <= after) continue;
      const id = `${jobId}:${sequence}`;
      for (const [place, event] of events.entries()) {
        out.send({ ...event, ...(place === events.length - 1 ? { id } : {}) });
        await out.room();
      }
    }
    for (const event of shown[0]!.surface.farewell) out.send(event);
  } catch (error) {
    if (!out.gone.aborted) for (const event of shown[0]!.surface.failure(ServingError.from(error))) out.send(event);
  } finally {
    out.end();
  }
  return new Set(ends.keys());
}

/** The answer again, for one who comes back to a job that may have run on without him. `after` as in `stream`. */
export async function streamAgain(
  deps: ApiDeps,
  reply: FastifyReply,
  { jobId, request: { detached } }: FoundJob,
  surface: Surface,
  after: number,
): Promise<FastifyReply> {
  const leave = deps.readers.enter(jobId, { owned: false, detached });
  leave((await stream(deps, reply, [{ jobId, surface }], after)).has(jobId));
  return reply;
}

function followed(
  { bus, model, stopping }: Pick<ApiDeps, "bus" | "model" | "stopping">,
  shown: readonly Shown[],
  gone: AbortSignal,
): AsyncGenerator<readonly [number, Step]> {
  const left = new AbortController();
  const either = linked(gone, stopping, left.signal);
  const sources = shown.map(({ jobId, log }) => followAnswer(bus, model.tokenizer, jobId, either.signal, log));
  return interleaved(sources, () => {
    left.abort(new Error("no longer read"));
    either.release();
  });
}

function eventsOf(surface: Surface, { record: { event }, deltas, scores, end }: Step): StreamEvent[] {
  if (event.type === "submitted") return surface.opening(event.request);
  if (event.type === "claimed") return surface.claimed();
  if (event.type === "progress") return surface.progress(event);
  return [...surface.more(deltas, scores), ...(end === null ? [] : surface.closing(end))];
}
