import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Served } from "../../../services/cli/serve.ts";
import { ask, check, checkError, postJson, RUNS, serveFuzzed } from "../../support/fuzz/answers.ts";
import { gets, ofJobs, ofResponses, posts, response, TOKENS } from "../../support/fuzz/examples.ts";

let served: Served;

beforeAll(async () => {
  served = await serveFuzzed();
});
afterAll(() => served.stop());

test("any method at any path, with any header that means something", async () => {
  const paths = fc.oneof(
    fc.constantFrom(...gets, ...ofJobs, ...ofResponses, ...posts.map(([path]) => path)),
    fc.webPath({ size: "small" }),
    fc
      .tuple(fc.constantFrom("/v1/jobs/", "/v1/models/", "/v1/messages/", "/v1/responses/"), fc.string({ maxLength: 30 }))
      .map(([start, end]) => start + encodeURIComponent(end)),
  );
  const text = fc.stringMatching(/^[!-~]{0,40}$/);
  const headers = fc.record(
    { "idempotency-key": text, "last-event-id": text, "x-stainless-retry-count": text, "x-api-key": text },
    { requiredKeys: [] },
  );
  const method = fc.constantFrom("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS");
  const query = fc.constantFrom(
    "",
    "?after=1",
    "?after=-1",
    "?after=x",
    "?after=1&after=2",
    "?beta=true",
    "?stream=true&starting_after=x",
    "?limit=0",
    "?%",
  );
  await fc.assert(
    fc.asyncProperty(paths, query, method, headers, async (path, query, method, headers) => {
      const body = method === "GET" ? {} : { body: "{}" };
      check(await ask(served, path + query, { method, headers: { "content-type": "application/json", ...headers }, ...body }));
    }),
    { numRuns: 2 * RUNS },
  );
});

test("a job's streams from any place on", async () => {
  const { text } = await postJson(served, "/v1/jobs", {
    kind: "completion",
    request: { model: "yardlog", prompt: "p", max_tokens: TOKENS },
  });
  const { id } = JSON.parse(text) as { id: string };
  const place = fc.oneof(fc.nat(40).map(String), fc.string({ maxLength: 20 }));
  const path = fc.constantFrom("events", "stream");
  await fc.assert(
    fc.asyncProperty(path, place, async (end, after) => {
      const answered = await ask(served, `/v1/jobs/${id}/${end}?after=${encodeURIComponent(after)}`);
      expect([200, 400]).toContain(answered.status);
      if (end === "stream") check(answered);
    }),
    { numRuns: 60 },
  );
});

test("a response's events from any place on, and any page of what was asked", async () => {
  const { text } = await postJson(served, "/v1/responses", { ...response, stream: false });
  const { id } = JSON.parse(text) as { id: string };
  const query = fc.record(
    {
      stream: fc.constantFrom("true", "false", "x"),
      starting_after: fc.oneof(fc.nat(40).map(String), fc.string({ maxLength: 20 })),
      limit: fc.oneof(fc.nat(3).map(String), fc.string({ maxLength: 5 })),
      order: fc.constantFrom("asc", "desc", "x"),
      after: fc.string({ maxLength: 20 }),
    },
    { requiredKeys: [] },
  );
  await fc.assert(
    fc.asyncProperty(fc.constantFrom("", "/input_items"), query, async (end, query) => {
      const answered = await ask(served, `/v1/responses/${id}${end}?${new URLSearchParams(query)}`);
      expect([200, 400, 404]).toContain(answered.status);
      if (answered.status >= 400) checkError("/v1/responses", JSON.parse(answered.text));
    }),
    { numRuns: 60 },
  );
});
