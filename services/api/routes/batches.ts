import type { FastifyInstance } from "fastify";
import { tenantOf } from "../auth.ts";
import type { Body } from "../body.ts";
import type { ApiDeps } from "../deps.ts";
import { batchesOf, batchObject, batchRequest, cancelBatch, requireBatch } from "../files/batches.ts";
import { submitBatch } from "../files/submit-batch.ts";
import { idempotencyKeyOf, isRetry } from "../generate.ts";
import { byAge, pageOf, pageQuery } from "../page.ts";
import { parseBody } from "../requests.ts";

type BatchParams = { Params: { id: string } };
const query = pageQuery({ max: 100, fallback: 20 });

/** OpenAI's batches. What is written here is taken up by a coordinator (services/batch). */
export function batchRoutes(app: FastifyInstance, deps: ApiDeps): void {
  const { bus } = deps;

  app.post<{ Body: Body }>("/v1/batches", async (request) => {
    const body = parseBody(batchRequest, request.body.json);
    const tenant = tenantOf(request);
    return batchObject(await submitBatch(deps, tenant, body, idempotencyKeyOf(request), isRetry(request)));
  });

  app.get("/v1/batches", async (request) => {
    const page = parseBody(query, request.query);
    return pageOf(byAge((await batchesOf(bus, tenantOf(request))).map(batchObject)), page);
  });

  app.get<BatchParams>("/v1/batches/:id", async (request) =>
    batchObject((await requireBatch(bus, tenantOf(request), request.params.id)).batch),
  );

  app.post<BatchParams>("/v1/batches/:id/cancel", async (request) =>
    batchObject(await cancelBatch(bus, tenantOf(request), request.params.id)),
  );
}
