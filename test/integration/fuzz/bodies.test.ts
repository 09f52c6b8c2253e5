import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Served } from "../../../services/cli/serve.ts";
import { ask, check, postJson, RUNS, serveFuzzed } from "../../support/fuzz/answers.ts";
import { type Json, posts, TOKENS } from "../../support/fuzz/examples.ts";

const anything: fc.Arbitrary<Json> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.constantFrom<Json[]>(
      null,
      true,
      0,
      -1,
      2,
      1e300,
      2 ** 53,
      "",
      "x",
      "\ud800",
      [],
      {},
      [null],
      [[]],
      "</think>",
      "<｜User｜>",
    ),
  },
  { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 4 }) as fc.Arbitrary<Json> },
);

/** Names that mean something elsewhere, or only to the code. */
const anyKey = fc.oneof(
  fc.constantFrom(
    ...new Set(posts.flatMap(([, example]) => pathsOf(example).flat())),
    "wo_eos",
    "task",
    "response_format",
    "max_completion_tokens",
    "view",
    "suffix",
    "echo",
    "best_of",
    "input",
  ),
  fc.string(),
);

/** `value` with what lies at one of its paths replaced, removed, doubled or given a neighbour. */
const changed = (value: Json): fc.Arbitrary<Json> =>
  fc
    .tuple(fc.constantFrom(...pathsOf(value)), fc.constantFrom("replace", "remove", "double", "add"), anything, anyKey)
    .map(([path, how, other, key]) => {
      const copy = structuredClone(value);
      if (path.length === 0) return how === "remove" ? null : other;
      const parent = path.slice(0, -1).reduce<Json>((inner, step) => (inner as { [key: string]: Json })[step]!, copy) as {
        [key: string]: Json;
      };
      const last = path.at(-1)!;
      if (how === "remove") delete parent[last];
      else if (how === "double" && Array.isArray(parent)) parent.push(structuredClone(parent[Number(last)]!));
      else if (how === "add" && !Array.isArray(parent)) parent[key] = other;
      else parent[last] = other;
      return copy;
    });

function pathsOf(value: Json): string[][] {
  return value === null || typeof value !== "object"
    ? [[]]
    : [[], ...Object.entries(value).flatMap(([key, inner]) => pathsOf(inner).map((path) => [key, ...path]))];
}

const changedOften = (value: Json): fc.Arbitrary<Json> => changed(value).chain((once) => fc.oneof(fc.constant(once), changed(once)));

/** Short answers: the lengths that are left as the client would have sent them are cut. */
function short(value: Json): Json {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  const { request } = value;
  const own = (length: Json | undefined) => typeof length === "number" || length === undefined || length === null;
  const tokens = {
    ...(own(value.max_tokens) && { max_tokens: TOKENS }),
    ...("input" in value && own(value.max_output_tokens) && { max_output_tokens: TOKENS }),
  };
  return { ...value, ...tokens, ...(request !== undefined && { request: short(request) }) };
}

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
