import * as grpc from "@grpc/grpc-js";
import { afterEach, expect, type MockInstance, test, vi } from "vitest";
import { makeKey } from "../../../services/api/keys/key.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import type { Config } from "../../../services/shared/runtime/config.ts";
import { ServingError } from "../../../services/shared/runtime/errors.ts";
import { type TestApi, testApi } from "../../support/api.ts";
import { call, closeClients, jobsAt } from "../../support/grpc.ts";

let api: TestApi;
let headers: Record<string, string> = {};
let made: MockInstance;

afterEach(async () => {
  made.mockRestore(); // the tokenizer is that of all tests
  closeClients();
  await api.close();
});

/** An API that counts the texts it makes tokens of. */
async function open(
  settings: Partial<Config>,
  limits: { tenant?: string; requestsPerMinute?: number; tokensPerMinute?: number } = {},
): Promise<void> {
  const bus = openBus({ url: "memory:" });
  const { secret, key } = makeKey({ name: "n", tenant: "t", requestsPerMinute: null, tokensPerMinute: null, createdMs: 0, ...limits });
  await bus.registry.keepKey(key.id, JSON.stringify(key));
  api = await testApi({ grpcPort: 0, ...settings }, bus);
  headers = { "content-type": "application/json", authorization: `Bearer ${secret}` };
  made = vi.spyOn(api.tokenizer, "encode");
}

const post = (path: string, body: object, more: Record<string, string> = {}, signal?: AbortSignal) =>
  fetch(api.url + path, { method: "POST", headers: { ...headers, ...more }, body: JSON.stringify(body), ...(signal && { signal }) });

const prompted = (prompt: string | readonly number[], max_tokens = 1) => ({ model: "yardlog", prompt, max_tokens });
const detached = (prompt: string | readonly number[], max_tokens = 1) =>
  post("/v1/jobs", { kind: "completion", request: prompted(prompt, max_tokens) });
const messages = [{ role: "user", content: "Where is red-fox?" }];
const asked: readonly [string, object][] = [
  ["/v1/completions", prompted("Where?")],
  ["/v1/chat/completions", { model: "yardlog", messages }],
  ["/v1/chat/completions", { model: "yardlog", messages, response_format: { type: "json_object" } }],
  [
    "/v1/chat/completions",
    { model: "yardlog", messages, tools: [{ type: "function", function: { name: "find" } }], response_format: { type: "json_object" } },
  ],
  ["/v1/responses", { model: "yardlog", input: "Where?" }],
  ["/v1/messages", { model: "yardlog", messages, max_tokens: 1 }],
  ["/v1/jobs", { kind: "chat", request: { model: "yardlog", messages } }],
];

/** Everything is refused, and no text becomes tokens; nor is a key remembered that nothing came of. */
async function refusesAll(busy: number): Promise<void> {
  made.mockClear();
  const remember = vi.spyOn(api.bus.registry, "remember");
  for (const [i, [path, body]] of asked.entries())
    for (const more of [{}, { "idempotency-key": `refused ${i}` }])
      expect((await post(path, body, more)).status, path).toBe(path === "/v1/messages" ? busy : 429);
  expect(remember).not.toHaveBeenCalled();
  const metadata = new grpc.Metadata();
  metadata.set("authorization", headers.authorization!);
  const submitted = call(jobsAt(api.grpc!), "Submit", { model: "yardlog", text: "Where?" }, metadata);
  await expect(submitted).rejects.toMatchObject({ code: grpc.status.RESOURCE_EXHAUSTED });
  expect(made).not.toHaveBeenCalled();
}

test.each([
  ["has no room for the text", new ServingError("OVERLOADED", "texts wait"), 429, "overloaded"],
  ["was closed", new ServingError("UNAVAILABLE", "closed"), 503, "unavailable"],
])("a tokenizer that %s is no mistake of the text's", async (_, thrown, status, code) => {
  await open({});
  made.mockRejectedValue(thrown);
  const response = await post("/v1/completions", prompted("Where?"));
  expect([response.status, Number(response.headers.get("retry-after")) > 0]).toEqual([status, true]);
  expect(await response.json()).toMatchObject({ error: { code, param: null } });
});

test("a key that has spent its requests is refused before a text becomes tokens, on every surface", async () => {
  await open({}, { requestsPerMinute: 1 });
  expect((await detached("Where?")).status).toBe(202);
  expect(made).toHaveBeenCalledTimes(1);
  await refusesAll(429);
});

test("so is everybody when as many jobs wait as may", async () => {
  await open({ queueJobsMax: 1 });
  expect((await detached("Where?")).status).toBe(202);
  await refusesAll(529);
});

test("a text that cannot fit the model is told so, not to come again, whatever waits", async () => {
  await open({ queueJobsMax: 1 });
  expect((await detached("Where?")).status).toBe(202);
  made.mockClear();
  const refused = await detached("a ".repeat(1_048_600));
  expect(refused.status).toBe(400);
  expect(await refused.json()).toMatchObject({ error: { code: "context_length_exceeded", param: "prompt" } });
  expect(made).not.toHaveBeenCalled();
});

test("a text whose words alone are too many is not made tokens of; what may fit is, and counts exactly", async () => {
  await open({ backlogTokensMax: 1_000 }, { tenant: "default" }); // which may have all of it
  expect((await detached([5, 6, 7], 97)).status).toBe(202);
  made.mockClear();
  expect((await detached("word ".repeat(900))).status).toBe(429);
  expect((await detached(Array<number>(900).fill(5))).status).toBe(429);
  expect(made).not.toHaveBeenCalled();
  expect((await detached("word".repeat(900))).status).toBe(429);
  expect(made).toHaveBeenCalledTimes(1);
  expect((await detached(Array<number>(899).fill(5), 2)).status).toBe(429);
  expect((await detached(Array<number>(899).fill(5))).status, "to the last token").toBe(202);
});

test("so it is with the tokens of a key", async () => {
  await open({}, { tokensPerMinute: 1_000 });
  expect((await detached([5], 599)).status).toBe(202);
  expect((await detached("word ".repeat(900))).status).toBe(429);
  expect(made).not.toHaveBeenCalled();
  expect((await detached([5], 300)).status, "what was refused has spent nothing").toBe(202);
});

test("a key that nothing came of is refused as if it were none, however often it comes: nobody waits, nor asks the log again and again", async () => {
  await open({}, { tokensPerMinute: 100 });
  expect((await detached([5], 59)).status).toBe(202);
  const keyed = { "idempotency-key": "K" };
  const come = () => post("/v1/completions", prompted("word".repeat(60)), keyed); // of which a lower bound alone fits what is left
  expect((await come()).status).toBe(429);
  expect(made, "it was let as far as that").toHaveBeenCalledTimes(1);
  const looks = vi.spyOn(api.bus.log, "last");
  for (let tries = 0; tries < 3; tries++) expect((await come()).status).toBe(429);
  expect(looks.mock.calls.length).toBeLessThanOrEqual(3 * 3);
  expect((await post("/v1/completions", prompted("word ".repeat(900)), keyed)).status).toBe(429);
  expect(made, "nor do its words become tokens where they are too many").toHaveBeenCalledTimes(4);
});

test.each([
  ["/v1/messages/count_tokens", { model: "yardlog", messages }],
  ["/v1/responses/input_tokens", { model: "yardlog", input: "Where?" }],
])("%s that the tokenizer has no room for costs a key nothing", async (path, body) => {
  await open({}, { requestsPerMinute: 1 });
  made.mockRejectedValueOnce(new ServingError("OVERLOADED", "texts wait"));
  expect((await post(path, body)).status).toBe(path.startsWith("/v1/messages") ? 529 : 429);
  const counted = await post(path, body);
  expect(counted.status).toBe(200);
  expect((await counted.json()) as object).toHaveProperty("input_tokens");
  expect((await post(path, body)).status).toBe(429);
});

test("what joins a job that is there is not refused: by its key, or sent again when that lost its reader", async () => {
  await open({ queueJobsMax: 1, graceMs: 60_000 });
  const chat = { model: "yardlog", messages, stream: true };
  const leaving = new AbortController();
  const jobOf = async (more: Record<string, string>, signal?: AbortSignal) => {
    const response = await post("/v1/chat/completions", chat, more, signal);
    return response.headers.get("x-job-id");
  };
  const keyed = { "idempotency-key": "once" };
  const jobId = await jobOf(keyed, leaving.signal);
  expect(jobId).toMatch(/^job_/);
  leaving.abort();
  await expect.poll(async () => (await api.bus.registry.beats(`left.${jobId}`)).size, { timeout: 20_000 }).toBe(1);
  expect(await jobOf({ "x-stainless-retry-count": "1" })).toBe(jobId);
  expect(await jobOf(keyed)).toBe(jobId);
  expect(await jobOf({})).toBeNull();
});
