import type { FastifyInstance } from "fastify";
import { tenantOf } from "../auth.ts";
import { submitChoices } from "../choices.ts";
import type { ApiDeps } from "../deps.ts";
import { askedOf } from "../endpoints.ts";
import type { Body } from "../http/body.ts";
import { answer } from "../http/respond.ts";

const attached = { lane: "interactive", detached: false } as const;

export function chatRoutes(app: FastifyInstance, deps: ApiDeps): void {
  for (const endpoint of ["/v1/chat/completions", "/v1/completions"] as const) {
    app.post<{ Body: Body }>(endpoint, async (request, reply) => {
      const { generation, prompt } = await askedOf[endpoint](deps, tenantOf(request), request.body);
      return answer(deps, reply, await submitChoices(deps, request, generation, prompt, attached), generation);
    });
  }
}
