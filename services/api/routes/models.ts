import type { FastifyInstance } from "fastify";
import type { ApiDeps } from "../deps.ts";
import { requireModel } from "../model.ts";

export function modelRoutes(app: FastifyInstance, { model }: ApiDeps): void {
  const described = {
    id: model.name,
    object: "model",
    created: model.createdSeconds,
    owned_by: "longshore",
    type: "model",
    display_name: model.name,
    created_at: new Date(1_000 * model.createdSeconds).toISOString(),
    context_length: model.contextTokens,
    max_model_len: model.contextTokens,
  };
  /** Both surfaces ask here; each client finds the fields it knows. */
  app.get("/v1/models", async () => ({ object: "list", data: [described], has_more: false, first_id: model.name, last_id: model.name }));
  /** Names may hold slashes, which not every client encodes. */
  app.get<{ Params: { "*": string } }>("/v1/models/*", async (request) => {
    requireModel(model, request.params["*"]);
    return described;
  });
}
