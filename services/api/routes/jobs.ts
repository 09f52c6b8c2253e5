import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import { isTerminal, type JobEvent, type JobRequest, type LogRecord } from "../../shared/bus/events.ts";
import { field, isObject } from "../../shared/engine/chat/python-json.ts";
import { refusal, ServingError } from "../../shared/runtime/errors.ts";
import { linked } from "../../shared/runtime/pause.ts";
import { answerSoFar, findJob, unknownJob } from "../answer/follow.ts";
import { surfaceOf } from "../answer/surfaces.ts";
import { tenantOf } from "../auth.ts";
import type { ApiDeps } from "../deps.ts";
import { openaiErrors } from "../errors.ts";
import { type Body, readExactly } from "../http/body.ts";
import { pageQuery } from "../http/page.ts";
import { stream } from "../http/respond.ts";
import { openEventStream } from "../http/sse.ts";
import { sendVerbatim } from "../http/verbatim.ts";
import { jobObject, type LoggedJob } from "../jobs/job-object.ts";
import { cancelJob, deleteEnded, type Failure, parsed, readNote } from "../jobs/jobs.ts";
import { Outlook, withProgress } from "../jobs/outlook.ts";
import { requireModel } from "../model.ts";
import { chatMessage } from "../openai/surfaces.ts";
import { chatPrompt, completionPrompt } from "../prompt/prompt.ts";
import { jobRequest, optional, parseBody } from "../requests.ts";
import { admissible, submitJob } from "../submitting.ts";
import { toldOfEvent, toldOfFailure } from "../told.ts";

const detached = { lane: "interactive", detached: true } as const;
type JobParams = { Params: { id: string } };
const listQuery = pageQuery({ max: 100, fallback: 100 })
  .pick({ limit: true })
  .extend({ status: optional(z.literal("failed", { error: "only failed is supported" })) });

/** Our own surface: every request is a job, and any replica knows any job. */
export function jobRoutes(app: FastifyInstance, deps: ApiDeps): void {
  const { model } = deps;
  const find = (request: FastifyRequest<JobParams>) => findJob(deps.bus, request.params.id, tenantOf(request));
  const read = async (id: string, request: JobRequest): Promise<LoggedJob> => {
    const [records, storedMs] = await Promise.all([deps.bus.log.read(id), deps.bus.log.storedTimes(id)]);
    if (records.length === 0) throw unknownJob(id); // deleted since it was found
    return { id, request, records, storedMs, segmentTokens: deps.config.segmentTokens };
  };

  app.post<{ Body: Body }>("/v1/jobs", async (request, reply) => {
    const { kind, request: inner } = parseBody(jobRequest, request.body.json);
    requireModel(model, inner.model);
    const exact = () => {
      const body = readExactly(request.body);
      return (isObject(body) ? field(body, "request") : undefined) ?? null;
    };
    const written = kind === "chat" ? await chatPrompt(deps, tenantOf(request), inner, exact) : completionPrompt(model, inner, deps.clock);
    const prompt = await admissible(deps, request, inner, written, detached);
    const { jobId, lane = detached.lane } = await submitJob(deps, request, inner, prompt, detached);
    const seconds = await deps.admission.estimate({ lane, promptTokens: prompt.ids.length });
    const eta_seconds = seconds === null ? null : Math.ceil(seconds);
    return reply.code(202).header("x-job-id", jobId).send({ id: jobId, object: "job", status: "queued", eta_seconds });
  });

  app.get("/v1/jobs", async (request) => {
    const { status, limit } = parseBody(listQuery, request.query);
    const data = await (status === "failed" ? failedJobs : latestJobs)(deps, tenantOf(request));
    return { object: "list", data: data.slice(0, limit) };
  });

  app.get<JobParams>("/v1/jobs/:id", async (request, reply) => {
    const jobId = request.params.id;
    const { request: job, view } = await find(request);
    const logged = await read(jobId, job);
    const { end, error, ...added } = answerSoFar(model.tokenizer, job, view, logged.records);
    const surface = surfaceOf({ jobId, model: job.model, view, fingerprint: model.fingerprint }, false);
    if (view.surface === "messages" || view.surface === "responses") sendVerbatim(reply);
    return {
      ...jobObject(logged),
      result: end === null ? null : surface.whole([{ ...added, end, jobId, index: view.choice?.index ?? 0 }]),
      partial: end !== null || added.deltas.length === 0 ? null : chatMessage(added.deltas, jobId),
      error: error === null ? null : openaiErrors.body(error).error,
    };
  });

  /** The job's own events: phases, progress, and the text as it comes. */
  app.get<JobParams>("/v1/jobs/:id/events", async (request, reply) => {
    const jobId = request.params.id;
    const { request: job } = await find(request);
    reply.header("x-job-id", jobId);
    await jobEvents(deps, reply, jobId, job.detached, lastEventId(request));
    return reply;
  });

  /** The answer in the chunks of its surface, from the beginning or from Last-Event-ID on: what a cut stream resumes with. */
  app.get<JobParams>("/v1/jobs/:id/stream", async (request, reply) => {
    const jobId = request.params.id;
    const { request: job, view } = await find(request);
    const surface = surfaceOf({ jobId, model: job.model, view, fingerprint: model.fingerprint }, view.usage === true);
    reply.header("x-job-id", jobId);
    const after = lastEventId(request);
    const shown = asksForProgress(request) ? withProgress(surface, new Outlook(deps.clock, await deps.admission.estimate(job))) : surface;
    const leave = deps.readers.enter(jobId, { owned: false, detached: job.detached });
    leave((await stream(deps, reply, [{ jobId, surface: shown }], after)).has(jobId));
    return reply;
  });

  app.post<JobParams>("/v1/jobs/:id/cancel", async (request) => {
    const { request: job } = await find(request);
    await cancelJob(deps.bus, request.params.id, "a request to cancel it");
    return jobObject(await read(request.params.id, job));
  });

  app.delete<JobParams>("/v1/jobs/:id", async (request) => {
    const { id } = request.params;
    await find(request);
    await deleteEnded(deps.bus, id, id);
    return { id, object: "job", deleted: true };
  });
}

/** The latest, by what the index says of them, and when that was noted; the body's digest and the replica are no client's business. */
async function latestJobs({ bus }: ApiDeps, tenant: string): Promise<object[]> {
  const noted = (await bus.registry.jobs(1_000)).map((found) => ({ id: found.jobId, submittedMs: found.notedMs, note: readNote(found) }));
  return noted
    .flatMap(({ id, submittedMs, note }) => (note?.tenant === tenant ? [{ ...note, id, submittedMs }] : []))
    .map(({ id, model, lane, promptTokens, submittedMs, deadlineMs }) => {
      const [created_at, deadline_at] = [Math.floor(submittedMs / 1_000), Math.floor(deadlineMs / 1_000)];
      return { id, object: "job", model, lane, created_at, deadline_at, prompt_tokens: promptTokens };
    });
}

/** The dead letters: what no worker could do, with the reason as far as it is told. */
async function failedJobs({ bus }: ApiDeps, tenant: string): Promise<object[]> {
  const failures = (await bus.registry.failures(1_000)).map((noted) => ({ noted, failure: parsed<Failure>(noted.text) }));
  return failures
    .flatMap(({ noted, failure }) => (failure?.tenant === tenant ? [{ noted, ...failure }] : []))
    .map(({ noted, model, code, message, attempt, claims }) => {
      const failed_at = Math.floor(noted.notedMs / 1_000);
      return {
        id: noted.jobId,
        object: "job",
        status: "failed",
        model,
        failed_at,
        attempt,
        claims,
        error: { code, message: toldOfFailure({ code, message }) },
      };
    });
}

async function jobEvents(deps: ApiDeps, reply: FastifyReply, jobId: string, detached: boolean, after: number): Promise<void> {
  const events = openEventStream(reply, deps.config);
  const outlook = new Outlook(deps.clock, null);
  const leave = deps.readers.enter(jobId, { owned: false, detached });
  const either = linked(events.gone, deps.stopping);
  let ended = false;
  try {
    for await (const record of deps.bus.log.follow(jobId, after, either.signal)) {
      events.send({ name: record.event.type, id: `${jobId}:${record.sequence}`, data: JSON.stringify(eventObject(record, outlook)) });
      ended = isTerminal(record.event);
      await events.room();
    }
    if (!ended) deps.stopping.throwIfAborted();
  } catch (error) {
    if (!events.gone.aborted) events.send({ name: "error", data: JSON.stringify(openaiErrors.body(ServingError.from(error))) });
  } finally {
    leave(ended);
    either.release();
    events.end();
  }
}

const asksForProgress = ({ query }: FastifyRequest<JobParams>): boolean => (query as { progress?: string }).progress === "1";

/** `Last-Event-ID: job_…:17`, or `?after=17`. Ids of another job mean nothing here. */
function lastEventId(request: FastifyRequest<JobParams>): number {
  const { "last-event-id": header } = request.headers;
  const { after = "0" } = request.query as { after?: string };
  const own = `${request.params.id}:`;
  const sequence = header === undefined ? after : String(header).startsWith(own) ? String(header).slice(own.length) : "";
  if (/^\d{1,15}$/.test(sequence)) return Number(sequence);
  throw refusal("Last-Event-ID must be an event id of this stream, and after the sequence number of an event", {
    param: header === undefined ? "after" : "Last-Event-ID",
  });
}

/** An event without what only workers need or the operator may read, and with what can be told of the time until the answer. */
function eventObject({ event, epoch, phase, atMs, tokenCount }: LogRecord, outlook: Outlook): object {
  const { request: _, ...shown } = toldOfEvent(event) as JobEvent & { request?: JobRequest };
  if (event.type === "progress") outlook.read(event);
  const eta = event.type === "progress" ? { eta_seconds: outlook.now().eta_seconds } : {};
  return { ...shown, ...eta, epoch, phase, at: Math.floor(atMs / 1_000), tokens: tokenCount };
}
