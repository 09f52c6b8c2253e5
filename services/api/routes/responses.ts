import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { refusal } from "../../shared/runtime/errors.ts";
import { linked } from "../../shared/runtime/pause.ts";
import { tenantOf } from "../auth.ts";
import { submitChoices } from "../choices.ts";
import type { ApiDeps } from "../deps.ts";
import { askedOf } from "../endpoints.ts";
import type { Body } from "../http/body.ts";
import { pageOf, pageQuery } from "../http/page.ts";
import { answer, streamAgain } from "../http/respond.ts";
import { sendVerbatim } from "../http/verbatim.ts";
import { answerId } from "../ids.ts";
import { cancelJob, deleteEnded } from "../jobs/jobs.ts";
import { countTokens } from "../paying.ts";
import { parseBody } from "../requests.ts";
import { type FoundResponse, findResponse, writeSoFar } from "../responses/history.ts";
import { listedItems } from "../responses/items.ts";
import { inputKept } from "../responses/kept.ts";
import { responsesSurface, writtenOf } from "../responses/surface.ts";

/** How long an answer to a cancel waits for the worker to notice. */
const CANCEL_MS = 2_000;

const itemQuery = pageQuery({ max: 100, fallback: 20 });
type ResponseRequest = { Params: { id: string }; Querystring: Readonly<Record<string, string>> };

/** OpenAI's Responses API. A response is a job: everything about it is read from the record, by any replica. */
export function responseRoutes(app: FastifyInstance, deps: ApiDeps): void {
  const find = (request: FastifyRequest<ResponseRequest>) => findResponse(deps.bus, request.params.id, tenantOf(request));
  const soFar = async (found: FoundResponse, reply: FastifyReply) => {
    const response = (await writeSoFar(deps, found)).response();
    sendVerbatim(reply);
    return response;
  };

  app.post<{ Body: Body }>("/v1/responses", async (request, reply) => {
    const tenant = tenantOf(request);
    const { generation, prompt } = await askedOf["/v1/responses"](deps, tenant, request.body);
    const detached = prompt.view.response?.background === true;
    const choices = await submitChoices(deps, request, generation, prompt, { lane: "interactive", detached });
    if (!detached || generation.stream === true) {
      const response = await answer(deps, reply, choices, generation, detached);
      if (response !== reply) sendVerbatim(reply);
      return response;
    }
    const { jobId } = choices[0]!;
    reply.header("x-job-id", jobId);
    return soFar(await findResponse(deps.bus, answerId("responses", jobId), tenant), reply);
  });

  app.post<{ Body: Body }>("/v1/responses/input_tokens", async (request) => {
    const write = async () => (await askedOf["/v1/responses"](deps, tenantOf(request), request.body)).prompt;
    return { object: "response.input_tokens", input_tokens: await countTokens(deps, request, write) };
  });

  /** With `stream=true`: its events from the first one, or from behind `starting_after`, on. */
  app.get<ResponseRequest>("/v1/responses/:id", async (request, reply) => {
    const found = await find(request);
    const { jobId, view, request: job } = found;
    reply.header("x-job-id", jobId);
    if (request.query.stream !== "true") return soFar(found, reply);
    const surface = responsesSurface(writtenOf({ jobId, model: job.model, view }), startingAfter(request.query));
    return streamAgain(deps, reply, found, surface, 0);
  });

  app.get<ResponseRequest>("/v1/responses/:id/input_items", async (request) => {
    const page = parseBody(itemQuery, request.query);
    const { jobId, response } = await find(request);
    return pageOf(listedItems(await inputKept(deps.bus, jobId, response), jobId), page);
  });

  app.post<ResponseRequest>("/v1/responses/:id/cancel", async (request, reply) => {
    const found = await find(request);
    if (await cancelJob(deps.bus, found.jobId, "a request to cancel it")) await ended(deps, found.jobId);
    return soFar(found, reply);
  });

  app.delete<ResponseRequest>("/v1/responses/:id", async (request) => {
    const { jobId } = await find(request);
    const { id } = request.params;
    await deleteEnded(deps.bus, jobId, id);
    return { id, object: "response", deleted: true };
  });
}

function startingAfter({ starting_after: number }: ResponseRequest["Querystring"]): number {
  if (number === undefined) return -1;
  if (/^(?:-1|\d{1,15})$/.test(number)) return Number(number);
  throw refusal("starting_after: must be the sequence_number of an event, or -1 for all of them", {
    param: "starting_after",
  });
}

/** Resolves when the job has ended, or nobody noticed in time. */
async function ended({ bus, clock, stopping }: ApiDeps, jobId: string): Promise<void> {
  const enough = new AbortController();
  const either = linked(enough.signal, stopping);
  const end = async () => {
    for await (const _ of bus.log.follow(jobId, 0, either.signal));
  };
  await Promise.race([end(), clock.sleep(CANCEL_MS, either.signal)]).catch(() => {});
  enough.abort(new Error("waited long enough"));
  either.release();
}
