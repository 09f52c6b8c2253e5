import OpenAI from "openai";
import type { ResponseStreamEvent } from "openai/resources/responses/responses";
import { afterAll, beforeAll, expect } from "vitest";
import { playText, promptOf, type Script, type TestApi, testApi } from "./api.ts";

export const clientOf = (url: string) => new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });

/** For a file of tests: an API while they run, a client of it, and its model. */
export function freshResponses() {
  let api: TestApi;
  let client: OpenAI;
  beforeAll(async () => {
    api = await testApi({ graceMs: 50 });
    client = clientOf(api.url);
  });
  afterAll(() => api.close());
  return {
    get api(): TestApi {
      return api;
    },
    get client(): OpenAI {
      return client;
    },
    /** What the model says next; the prompt that it was said to. */
    says: async (text: string, end?: Script["end"]): Promise<string> => promptOf(api, await playText(api, text, end)),
  };
}

export const ask = { model: "yardlog", input: "Where is red-fox?" };
export const find = {
  type: "function" as const,
  name: "find",
  description: "d",
  parameters: { type: "object", properties: {} },
  strict: false,
};

/** Each type once for every run of it. */
export const order = (events: readonly ResponseStreamEvent[]) =>
  events.map(({ type }) => type.replace("response.", "")).filter((type, i, types) => type !== types[i - 1]);

/** A thought, a text and two calls of a function: as the model says them, and as items of a response. */
export const CALLS =
  'Bay, then.</think>Let me look.\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="find">\n<｜DSML｜parameter name="bay" string="false">2.50</｜DSML｜parameter>\n</｜DSML｜invoke>\n<｜DSML｜invoke name="find">\n\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>';
export const CALLS_OUTPUT = [
  { type: "reasoning", id: expect.stringMatching(/^rs_\w{20}_0$/), summary: [], content: [{ type: "reasoning_text", text: "Bay, then." }] },
  {
    type: "message",
    id: expect.stringMatching(/^msg_\w{20}_1$/),
    role: "assistant",
    content: [{ type: "output_text", text: "Let me look." }],
  },
  {
    type: "function_call",
    id: expect.stringMatching(/^fc_\w{20}_2$/),
    call_id: expect.stringMatching(/_0$/),
    name: "find",
    arguments: '{"bay": 2.50}',
  },
  {
    type: "function_call",
    id: expect.stringMatching(/^fc_\w{20}_3$/),
    call_id: expect.stringMatching(/_1$/),
    name: "find",
    arguments: "{}",
  },
];
export const callsRequest = { ...ask, tools: [find], reasoning: { effort: "high" as const } };
