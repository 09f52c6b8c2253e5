import type { ResponseStreamEvent } from "openai/resources/responses/responses";
import { expect } from "vitest";

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
