import type { FastifyInstance } from "fastify";
import { messagesPrompt } from "../anthropic/prompt.ts";
import { countTokensRequest, messagesRequest } from "../anthropic/requests.ts";
import { tenantOf } from "../auth.ts";
import { submitChoices } from "../choices.ts";
import type { ApiDeps } from "../deps.ts";
import { type Body, readExactly } from "../http/body.ts";
import { answer } from "../http/respond.ts";
import { sendVerbatim } from "../http/verbatim.ts";
import { requireModel } from "../model.ts";
import { countTokens } from "../paying.ts";
import { parseBody } from "../requests.ts";

/** Anthropic's surface: the same jobs, in other words. */
export function messageRoutes(app: FastifyInstance, deps: ApiDeps): void {
  app.post<{ Body: Body }>("/v1/messages", async (request, reply) => {
    const body = parseBody(messagesRequest, request.body.json);
    requireModel(deps.model, body.model);
    const prompt = await messagesPrompt(deps, tenantOf(request), body, () => readExactly(request.body));
    const generation = { ...body, stop: body.stop_sequences };
    const choices = await submitChoices(deps, request, generation, prompt, { lane: "interactive", detached: false });
    const message = await answer(deps, reply, choices, generation);
    if (message !== reply) sendVerbatim(reply);
    return message;
  });

  app.post<{ Body: Body }>("/v1/messages/count_tokens", async (request) => {
    const body = parseBody(countTokensRequest, request.body.json);
    requireModel(deps.model, body.model);
    const write = () => messagesPrompt(deps, tenantOf(request), body, () => readExactly(request.body));
    return { input_tokens: await countTokens(deps, request, write) };
  });
}
