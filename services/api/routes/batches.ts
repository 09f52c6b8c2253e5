import type { FastifyInstance } from "fastify";
import { findBatch } from "../../shared/batches/batch.ts";
import { idempotencyKeyOf, isRetry } from "../api-request.ts";
import { callerOf, tenantOf } from "../auth.ts";
import type { ApiDeps } from "../deps.ts";
import { batchesOf, batchObject, batchRequest, cancelBatch, deleteBatch, requireBatch } from "../files/batches.ts";
import { submitBatch } from "../files/submit-batch.ts";
import type { Body } from "../http/body.ts";
import { byAge, pageOf, pageQuery } from "../http/page.ts";
import { parseBody } from "../requests.ts";

type BatchParams = { Params: { id: string } };
const query = pageQuery({ max: 100, fallback: 20 });

/** OpenAI's batches. What is written here is taken up by a coordinator (services/batch). */
export function batchRoutes(app: FastifyInstance, deps: ApiDeps): void {
  const { bus } = deps;

  app.post<{ Body: Body }>("/v1/batches", async (request) => {
    const body = parseBody(batchRequest, request.body.json);
    return batchObject(await submitBatch(deps, callerOf(request), body, idempotencyKeyOf(request), isRetry(request)));
  });

  app.get("/v1/batches", async (request) => {
    const asked = parseBody(query, request.query);
    const tenant = tenantOf(request);
    const all = new Map<string, number>(); // one that is written meanwhile comes twice
    for await (const { id, createdAt } of batchesOf(bus, tenant)) all.set(id, createdAt);
    const page = pageOf(byAge([...all].map(([id, created_at]) => ({ id, created_at }))), asked); // read whole, once it is known which are on it
    const found = await Promise.all(page.data.map(({ id }) => findBatch(bus, tenant, id)));
    return { ...page, data: found.flatMap((one) => (one === null ? [] : [batchObject(one.batch)])) };
  });

  app.get<BatchParams>("/v1/batches/:id", async (request) =>
    batchObject((await requireBatch(bus, tenantOf(request), request.params.id)).batch),
  );

  app.post<BatchParams>("/v1/batches/:id/cancel", async (request) =>
    batchObject(await cancelBatch(bus, tenantOf(request), request.params.id)),
  );

  app.delete<BatchParams>("/v1/batches/:id", async (request) => {
    const { id } = request.params;
    await deleteBatch(bus, tenantOf(request), id);
    return { id, object: "batch", deleted: true };
  });
}
