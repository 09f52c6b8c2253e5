import type { FastifyInstance } from "fastify";
import { derivedId } from "../../shared/batches/ids.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import type { Body } from "../body.ts";
import type { ApiDeps } from "../deps.ts";
import { batchesOf, batchObject, batchRequest, cancelBatch, createBatch, newBatch, requireBatch } from "../files/batches.ts";
import { findFile } from "../files/files.ts";
import { pageOf, pageQuery } from "../files/list.ts";
import { idempotencyKeyOf } from "../generate.ts";
import { parseBody } from "../requests.ts";

type BatchParams = { Params: { id: string } };
const query = pageQuery({ max: 100, fallback: 20 });

/** OpenAI's batches. What is written here is taken up by a coordinator (services/batch). */
export function batchRoutes(app: FastifyInstance, deps: ApiDeps): void {
  const { bus, random } = deps;

  app.post<{ Body: Body }>("/v1/batches", async (request) => {
    const body = parseBody(batchRequest, request.body.json);
    const tenant = deps.authenticate(request.headers);
    const input = await findFile(bus, tenant, body.input_file_id, "input_file_id");
    if (input.purpose !== "batch")
      throw new ServingError("INVALID_REQUEST", "input_file_id: the file was not uploaded with purpose=batch", {
        param: "input_file_id",
        apiCode: "invalid_value",
      });
    const key = idempotencyKeyOf(request);
    const id = key === null ? random.id("batch_") : derivedId("batch_", tenant, key);
    return batchObject(await createBatch(bus, newBatch(id, tenant, body, Math.floor((await bus.log.nowMs()) / 1_000))));
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
