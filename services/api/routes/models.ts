import type { FastifyInstance } from "fastify";
import type { ApiDeps } from "../deps.ts";
import { requireModel } from "../model.ts";

export function modelRoutes(app: FastifyInstance, { model }: ApiDeps): void {
  const described = {
    id: model.name,
    object: "model",
    created: model.createdSeconds,
    owned_by: "longshore",
    context_length: model.contextTokens,
    max_model_len: model.contextTokens,
  };
  app.get("/v1/models", async () => ({ object: "list", data: [described] }));
  app.get<{ Params: { id: string } }>("/v1/models/:id", async (request) => {
    requireModel(model, request.params.id);
    return described;
  });
}
