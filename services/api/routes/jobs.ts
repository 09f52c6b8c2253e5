import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import { isTerminal, type JobEvent, type JobRequest, type LogRecord } from "../../shared/bus/events.ts";
import { field, isObject } from "../../shared/engine/chat/python-json.ts";
import { refusal, ServingError } from "../../shared/runtime/errors.ts";
import { parsed } from "../../shared/runtime/json.ts";
import { linked } from "../../shared/runtime/pause.ts";
import { answerSoFar, type FoundJob, findJob } from "../answer/follow.ts";
import { surfaceOf } from "../answer/surfaces.ts";
import { tenantOf } from "../auth.ts";
import type { ApiDeps } from "../deps.ts";
import { openaiErrors } from "../errors.ts";
import { type Body, readExactly } from "../http/body.ts";
import { pageQuery } from "../http/page.ts";
import { streamAgain } from "../http/respond.ts";
import { openEventStream } from "../http/sse.ts";
import { sendVerbatim } from "../http/verbatim.ts";
import { jobObject, readLogged } from "../jobs/job-object.ts";
import { cancelJob, deleteEnded, type Failure, readNote } from "../jobs/jobs.ts";
import { Outlook, withProgress } from "../jobs/outlook.ts";
import { requireModel } from "../model.ts";
import { chatMessage } from "../openai/surfaces.ts";
import { chatPrompt, completionPrompt } from "../prompt/prompt.ts";
import { redactedEvent, redactedMessage } from "../redact.ts";
import { jobRequest, optional, parseBody } from "../requests.ts";
import { admissible, submitJob } from "../submit-request.ts";

const detached = { lane: "interactive", detached: true } as const;
type JobParams = { Params: { id: string } };
const listQuery = pageQuery({ max: 100, fallback: 100 })
  .pick({ limit: true })
  .extend({ status: optional(z.literal("failed", { error: "only failed is supported" })) });

/** Our own surface: every request is a job, and any replica knows any job. */
export function jobRoutes(app: FastifyInstance, deps: ApiDeps): void {
  const { model } = deps;
  const find = (request: FastifyRequest<JobParams>) => findJob(deps.bus, request.params.id, tenantOf(request));

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
    const found = await find(request);
    const { jobId, request: job, view } = found;
    const logged = await readLogged(deps, found);
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
    const found = await find(request);
    reply.header("x-job-id", found.jobId);
    await jobEvents(deps, reply, found, lastEventId(request));
    return reply;
  });

  /** The answer in the chunks of its surface, from the beginning or from Last-Event-ID on: what a cut stream resumes with. */
  app.get<JobParams>("/v1/jobs/:id/stream", async (request, reply) => {
    const found = await find(request);
    const { jobId, request: job, view } = found;
    const surface = surfaceOf({ jobId, model: job.model, view, fingerprint: model.fingerprint }, view.usage === true);
    reply.header("x-job-id", jobId);
    const after = lastEventId(request);
    const shown = asksForProgress(request) ? withProgress(surface, new Outlook(deps.clock, await deps.admission.estimate(job))) : surface;
    return streamAgain(deps, reply, found, shown, after);
  });

  app.post<JobParams>("/v1/jobs/:id/cancel", async (request) => {
    const found = await find(request);
    await cancelJob(deps.bus, found.jobId, "a request to cancel it");
    return jobObject(await readLogged(deps, found));
  });

  app.delete<JobParams>("/v1/jobs/:id", async (request) => {
    const { jobId: id } = await find(request);
    await deleteEnded(deps.bus, id, id);
    return { id, object: "job", deleted: true };
  });
}

/** The latest, by what the index says of them, and when that was noted; the body's digest and the replica are no client's business. */
async function latestJobs({ bus }: ApiDeps, tenant: string): Promise<object[]> {
  return (await bus.registry.jobs(1_000)).flatMap((noted) => {
    const note = readNote(noted);
    if (note?.tenant !== tenant) return [];
    const [created_at, deadline_at] = [Math.floor(noted.notedMs / 1_000), Math.floor(note.deadlineMs / 1_000)];
    return {
      id: noted.jobId,
      object: "job",
      model: note.model,
      lane: note.lane,
      created_at,
      deadline_at,
      prompt_tokens: note.promptTokens,
    };
  });
}

/** The dead letters: what no worker could do, with the reason as far as it is told. */
async function failedJobs({ bus }: ApiDeps, tenant: string): Promise<object[]> {
  return (await bus.registry.failures(1_000)).flatMap(({ jobId, notedMs, text }) => {
    const failure = parsed<Failure>(text);
    if (failure?.tenant !== tenant) return [];
    const { model, code, message, attempt, claims } = failure;
    const error = { code, message: redactedMessage({ code, message }) };
    return { id: jobId, object: "job", status: "failed", model, failed_at: Math.floor(notedMs / 1_000), attempt, claims, error };
  });
}

async function jobEvents(deps: ApiDeps, reply: FastifyReply, { jobId, request }: FoundJob, after: number): Promise<void> {
  const events = openEventStream(reply, deps.config);
  const outlook = new Outlook(deps.clock, null);
  const leave = deps.readers.enter(jobId, { owned: false, detached: request.detached });
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
  const { request: _, ...shown } = redactedEvent(event) as JobEvent & { request?: JobRequest };
  if (event.type === "progress") outlook.read(event);
  const eta = event.type === "progress" ? { eta_seconds: outlook.now().eta_seconds } : {};
  return { ...shown, ...eta, epoch, phase, at: Math.floor(atMs / 1_000), tokens: tokenCount };
}
