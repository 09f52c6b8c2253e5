import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { afterAll, beforeAll } from "vitest";
import type { Bus } from "../../services/shared/bus/contract.ts";
import { playText, promptOf, type Script, type TestApi, testApi } from "./api.ts";

/** The official client, without retries of its own. */
export const openaiOf = (url: string) => new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });

/** For a file of tests: an API while they run, the official clients of it, and its model. */
export function freshClients(changes: Parameters<typeof testApi>[0] = {}, bus?: Bus) {
  let api: TestApi;
  let openai: OpenAI;
  let anthropic: Anthropic;
  beforeAll(async () => {
    api = await testApi(changes, bus);
    openai = openaiOf(api.url);
    anthropic = new Anthropic({ baseURL: api.url, apiKey: "none", maxRetries: 0 });
  });
  afterAll(() => api.close());
  return {
    get api(): TestApi {
      return api;
    },
    get openai(): OpenAI {
      return openai;
    },
    get anthropic(): Anthropic {
      return anthropic;
    },
    /** Plays `text` as the model's next answer. Resolves to the prompt it answered. */
    says: async (text: string, end?: Script["end"]): Promise<string> => promptOf(api, await playText(api, text, end)),
  };
}
