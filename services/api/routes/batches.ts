import type { FastifyInstance } from "fastify";
import type { Body } from "../body.ts";
import type { ApiDeps } from "../deps.ts";
import { batchesOf, batchObject, batchRequest, cancelBatch, requireBatch } from "../files/batches.ts";
import { pageOf, pageQuery } from "../files/list.ts";
import { submitBatch } from "../files/submit-batch.ts";
import { idempotencyKeyOf, isRetry } from "../generate.ts";
import { parseBody } from "../requests.ts";

type BatchParams = { Params: { id: string } };
const query = pageQuery({ max: 100, fallback: 20 });

/** OpenAI's batches. What is written here is taken up by a coordinator (services/batch). */
export function batchRoutes(app: FastifyInstance, deps: ApiDeps): void {
  const { bus } = deps;

  app.post<{ Body: Body }>("/v1/batches", async (request) => {
    const body = parseBody(batchRequest, request.body.json);
    const tenant = deps.authenticate(request.headers);
    return batchObject(await submitBatch(deps, tenant, body, idempotencyKeyOf(request), isRetry(request)));
  });

  app.get("/v1/batches", async (request) => {
    const page = parseBody(query, request.query);
    return pageOf((await batchesOf(bus, deps.authenticate(request.headers))).map(batchObject), page);
  });

  app.get<BatchParams>("/v1/batches/:id", async (request) =>
    batchObject((await requireBatch(bus, deps.authenticate(request.headers), request.params.id)).batch),
  );

  app.post<BatchParams>("/v1/batches/:id/cancel", async (request) =>
    batchObject(await cancelBatch(bus, deps.authenticate(request.headers), request.params.id)),
  );
}
