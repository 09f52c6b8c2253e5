import { afterAll, beforeAll, expect, test } from "vitest";
import { effortOf, thinksBy } from "../../../services/api/prompt/effort.ts";
import { playText, promptOf, type TestApi, testApi } from "../../support/api.ts";

let api: TestApi;
beforeAll(async () => {
  api = await testApi();
});
afterAll(() => api.close());

/** The demonstration model is of the preview: what it knows of efforts is the most there is. */
const MAXIMUM = "Reasoning Effort: Absolute maximum";

async function promptFor(path: string, extra: object): Promise<string> {
  const headers = { "content-type": "application/json" };
  const asked = path === "/v1/responses" ? { input: "u" } : { messages: [{ role: "user", content: "u" }] };
  const answer = fetch(api.url + path, { method: "POST", headers, body: JSON.stringify({ model: "yardlog", ...asked, ...extra }) });
  const prompt = await promptOf(api, await playText(api, "</think>42"));
  expect((await answer).status).toBe(200);
  return prompt;
}

test.each([
  ["none", false, ""],
  ["minimal", true, ""],
  ["low", true, ""],
  ["medium", true, ""],
  ["high", true, ""],
  ["xhigh", true, ""],
  ["max", true, MAXIMUM],
  ["ultra", true, MAXIMUM],
])("effort %s: chat completions and responses ask the model for the same", async (effort, thinks, text) => {
  const chat = await promptFor("/v1/chat/completions", { reasoning_effort: effort });
  expect(chat.endsWith(thinks ? "<｜Assistant｜><think>" : "<｜Assistant｜></think>")).toBe(true);
  expect(chat.startsWith(`<｜begin▁of▁sentence｜>${text === "" ? "<｜User｜>" : text}`)).toBe(true);
  expect(await promptFor("/v1/responses", { reasoning: { effort } })).toBe(chat);
});

test("thinking has the last word", async () => {
  const path = "/v1/chat/completions";
  const off = await promptFor(path, { reasoning_effort: "max", thinking: { type: "disabled" } });
  expect(off).toBe("<｜begin▁of▁sentence｜><｜User｜>u<｜Assistant｜></think>");
  const on = await promptFor(path, { reasoning_effort: "none", thinking: { type: "enabled" } });
  expect(on).toBe("<｜begin▁of▁sentence｜><｜User｜>u<｜Assistant｜><think>");
});

test("words become the efforts that releases are trained on; none in particular is the server's setting and the release's own", () => {
  const words = ["none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra"] as const;
  expect(words.map(effortOf)).toEqual([null, "low", "low", "high", "high", "high", "max", "max"]);
  expect(effortOf(undefined)).toBeNull();
  expect([thinksBy(undefined, true), thinksBy(undefined, false), thinksBy("none", true)]).toEqual([true, false, false]);
});
