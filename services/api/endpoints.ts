import type { Endpoint } from "../shared/batches/batch.ts";
import type { ApiDeps } from "./deps.ts";
import { type Body, readExactly } from "./http/body.ts";
import { requireModel } from "./model.ts";
import { chatPrompt, completionPrompt, type WrittenPrompt } from "./prompt/prompt.ts";
import { chatRequest, completionRequest, type GenerationRequest, parseBody } from "./requests.ts";
import { responsesPrompt } from "./responses/prompt.ts";
import { responsesRequest } from "./responses/requests.ts";

/** What a request asks to be generated. */
export interface Asked {
  readonly generation: GenerationRequest;
  readonly prompt: WrittenPrompt;
}

type AskDeps = Pick<ApiDeps, "bus" | "model" | "config" | "clock">;

/** How each endpoint that generates reads its body, over a connection or as the line of a batch. Throws what it answers to a bad one. */
export const askedOf: Readonly<Record<Endpoint, (deps: AskDeps, tenant: string, body: Body) => Promise<Asked>>> = {
  "/v1/chat/completions": async (deps, tenant, body) => {
    const generation = parseBody(chatRequest, body.json);
    requireModel(deps.model, generation.model);
    return { generation, prompt: await chatPrompt(deps, tenant, generation, () => readExactly(body)) };
  },
  "/v1/completions": async ({ model, clock }, _, body) => {
    const generation = parseBody(completionRequest, body.json);
    requireModel(model, generation.model);
    return { generation, prompt: completionPrompt(model, generation, clock) };
  },
  "/v1/responses": async (deps, tenant, body) => {
    const request = parseBody(responsesRequest, body.json);
    requireModel(deps.model, request.model);
    const prompt = await responsesPrompt(deps, tenant, request, () => readExactly(body));
    return { generation: { ...request, max_tokens: request.max_output_tokens, top_logprobs: undefined }, prompt };
  },
};
