import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Served } from "../../../services/cli/serve.ts";
import { ask, check, postJson, RUNS, serveFuzzed } from "../../support/fuzz/answers.ts";
import { changedOften, short } from "../../support/fuzz/changes.ts";
import { posts, TOKENS } from "../../support/fuzz/examples.ts";

let served: Served;

beforeAll(async () => {
  served = await serveFuzzed();
});
afterAll(() => served.stop());

describe.each(posts)("POST %s", (path, example) => {
  test("the example itself is answered", async () => {
    const answered = await postJson(served, path, short(example));
    expect(answered.status, answered.text).toBeLessThan(300);
    check(answered);
  });

  test("an example with anything at any place", async () => {
    await fc.assert(
      fc.asyncProperty(changedOften(example), async (body) => {
        const answered = await postJson(served, path, short(body));
        check(answered);
        if (answered.status === 202) check(await ask(served, `/v1/jobs/${answered.headers.get("x-job-id")}/stream`));
      }),
      { numRuns: RUNS },
    );
  });

  test("bytes, and types and encodings that say what they are", async () => {
    const header = fc.constantFrom("application/json", "text/plain", "application/json; charset=latin1", "multipart/form-data", "x");
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ max: 127, maxLength: 40 }), header, async (body, type) => {
        check(await ask(served, path, { method: "POST", headers: { "content-type": type }, body: new Uint8Array(body) }));
      }),
      { numRuns: RUNS / 3 },
    );
  });
});

test("names that only other surfaces or the code know mean nothing", async () => {
  const foreign = {
    n: "x",
    seed: "y",
    logprobs: 3.5,
    top_logprobs: [],
    max_completion_tokens: {},
    deadline_seconds: "z",
    stop: 5,
    view: 1,
  };
  const inner = { wo_eos: "x", task: "y", tools: 5, response_format: 7 };
  const user = { role: "user", content: "u", ...inner };
  const chatted = await postJson(served, "/v1/chat/completions", { model: "yardlog", messages: [user], max_tokens: TOKENS });
  expect(chatted.status, chatted.text).toBe(200);
  const messaged = await postJson(served, "/v1/messages", { model: "yardlog", messages: [user], max_tokens: TOKENS, ...foreign });
  expect(messaged.status, messaged.text).toBe(200);
  const completed = await postJson(served, "/v1/completions", {
    model: "yardlog",
    prompt: "p",
    max_tokens: TOKENS,
    top_logprobs: [],
    max_completion_tokens: {},
  });
  expect(completed.status, completed.text).toBe(200);
});
