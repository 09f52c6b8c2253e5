import type { FastifyInstance } from "fastify";
import { type Body, readExactly } from "../body.ts";
import type { ApiDeps } from "../deps.ts";
import { submitChoices } from "../generate.ts";
import { requireModel } from "../model.ts";
import { chatPrompt, completionPrompt } from "../prompt.ts";
import { chatRequest, completionRequest, parseBody } from "../requests.ts";
import { answer } from "../respond.ts";

const attached = { lane: "interactive", detached: false } as const;

export function chatRoutes(app: FastifyInstance, deps: ApiDeps): void {
  app.post<{ Body: Body }>("/v1/chat/completions", async (request, reply) => {
    const body = parseBody(chatRequest, request.body.json);
    requireModel(deps.model, body.model);
    const prompt = await chatPrompt(deps.model, body, () => readExactly(request.body), deps.clock);
    return answer(deps, reply, await submitChoices(deps, request, body, prompt, attached), body);
  });

  app.post<{ Body: Body }>("/v1/completions", async (request, reply) => {
    const body = parseBody(completionRequest, request.body.json);
    requireModel(deps.model, body.model);
    const prompt = await completionPrompt(deps.model, body, deps.clock);
    return answer(deps, reply, await submitChoices(deps, request, body, prompt, attached), body);
  });
}
