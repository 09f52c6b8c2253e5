import { readFileSync } from "node:fs";
import { request as requestPlainly } from "node:http";
import { request } from "node:https";
import { join } from "node:path";
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { expect, test } from "vitest";
import { type ApiKey, makeKey } from "../../../../services/api/keys/key.ts";
import { openBus } from "../../../../services/shared/bus/open.ts";
import { packageRoot } from "../../../../services/shared/runtime/package-root.ts";
import { playJob, testApi } from "../../../support/api.ts";

const chat = { model: "yardlog", max_tokens: 50, messages: [{ role: "user" as const, content: "Where is red-fox?" }] };

async function keyed(...asked: Partial<ApiKey>[]) {
  const bus = openBus({ url: "memory:" });
  const made = asked.map((changes) =>
    makeKey({ ...{ name: "n", tenant: "t", requestsPerMinute: null, tokensPerMinute: null, createdMs: 0 }, ...changes }),
  );
  for (const { key } of made) await bus.registry.keepKey(key.id, JSON.stringify(key));
  const api = await testApi({ beatMs: 20 }, bus);
  return { api, bus, made };
}

test("a key of the record gets in, counts against its limits in the words of each surface, and is turned away beyond them", async () => {
  const { api, bus, made } = await keyed({ requestsPerMinute: 2, tokensPerMinute: 100_000 });
  const apiKey = made[0]!.secret;
  const openai = new OpenAI({ baseURL: `${api.url}/v1`, apiKey, maxRetries: 0 });
  const anthropic = new Anthropic({ baseURL: api.url, apiKey, maxRetries: 0 });
  await expect(new OpenAI({ baseURL: `${api.url}/v1`, apiKey: "none" }).models.list()).rejects.toMatchObject({
    status: 401,
    code: "invalid_api_key",
  });

  const first = openai.chat.completions.create({ ...chat, stream: true }).withResponse();
  const { data, response } = await first;
  expect(Object.fromEntries(response.headers)).toMatchObject({
    "x-ratelimit-limit-requests": "2",
    "x-ratelimit-remaining-requests": "1",
    "x-ratelimit-reset-requests": expect.stringMatching(/^(2\d|30)s$/),
    "x-ratelimit-limit-tokens": "100000",
    "x-ratelimit-remaining-tokens": expect.stringMatching(/^\d+$/),
  });
  await Promise.all([playJob(bus, "yardlog", { ids: [5] }), data.toReadableStream().cancel()]);

  const second = anthropic.messages.create(chat).withResponse();
  await playJob(bus, "yardlog", { ids: [5] });
  expect(Object.fromEntries((await second).response.headers)).toMatchObject({
    "anthropic-ratelimit-requests-limit": "2",
    "anthropic-ratelimit-requests-remaining": "0",
    "anthropic-ratelimit-requests-reset": expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
  });

  const third = await openai.chat.completions.create(chat).catch((error: unknown) => error);
  expect(third).toMatchObject({
    status: 429,
    type: "rate_limit_error",
    code: "rate_limit_exceeded",
    message: expect.stringContaining("2 requests a minute"),
  });
  expect(Number((third as InstanceType<typeof OpenAI.APIError>).headers?.get("retry-after"))).toBeGreaterThan(20);
  const fourth = await anthropic.messages.create(chat).catch((error: unknown) => error);
  expect(fourth, "its own limit: not 529").toMatchObject({ status: 429, error: { error: { type: "rate_limit_error" } } });
  await api.close();
});

test("a key is made for no tenant whose files and batches the record could not name", () => {
  const made = (tenant: string) => makeKey({ name: "n", tenant, requestsPerMinute: null, tokensPerMinute: null, createdMs: 0 }).key.tenant;
  const refused = (message: RegExp) => expect.objectContaining({ code: "INVALID_REQUEST", message: expect.stringMatching(message) });
  expect(() => made("x".repeat(201))).toThrow(refused(/xxx\.\.\. is too long: there is room for 200/));
  expect(() => made("ä".repeat(34))).toThrow(refused(/is too long/));
  expect(() => made("")).toThrow(refused(/a tenant needs a name/));
  expect(["x".repeat(200), "ä".repeat(33)].map(made)).toEqual(["x".repeat(200), "ä".repeat(33)]);
});

test("two keys of one tenant see the same jobs; another tenant's does not; a revoked one sees nothing", async () => {
  const { api, bus, made } = await keyed({}, {}, { tenant: "other" });
  const [mine, ours, other] = made.map(({ secret }) => secret);
  const ask = (key: string, path: string, body?: object) =>
    fetch(api.url + path, {
      headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) }),
    });
  const { id } = (await (await ask(mine!, "/v1/jobs", { kind: "chat", request: chat })).json()) as { id: string };
  const seen = await Promise.all([mine, ours, other].map(async (key) => (await ask(key!, `/v1/jobs/${id}`)).status));
  expect(seen).toEqual([200, 200, 404]);
  await bus.registry.noteFailure("job_failed", JSON.stringify({ tenant: "t", model: "yardlog", code: "INTERNAL", message: "m" }));
  const file = new FormData();
  file.append("purpose", "batch");
  file.append("file", new Blob(["{}"]), "in.jsonl");
  await fetch(`${api.url}/v1/files`, { method: "POST", headers: { authorization: `Bearer ${mine}` }, body: file });
  for (const path of ["/v1/jobs", "/v1/jobs?status=failed", "/v1/files"]) {
    const listed = async (key: string) => ((await (await ask(key, path)).json()) as { data: object[] }).data.length;
    expect(await Promise.all([listed(mine!), listed(ours!), listed(other!)]), path).toEqual([1, 1, 0]);
  }
  const { key } = made[0]!;
  await bus.registry.keepKey(key.id, JSON.stringify({ ...key, revokedMs: Date.now() }));
  await expect.poll(async () => (await ask(mine!, `/v1/jobs/${id}`)).status).toBe(401);
  expect((await ask(ours!, `/v1/jobs/${id}`)).status).toBe(200);
  await api.close();
});

test("the list of jobs has the newest hundred of its tenant, of the last thousand of all", async () => {
  const { api, bus, made } = await keyed({});
  const listed = async () => {
    const response = await fetch(`${api.url}/v1/jobs`, { headers: { authorization: `Bearer ${made[0]!.secret}` } });
    return ((await response.json()) as { data: { id: string }[] }).data.map(({ id }) => id);
  };
  let noted = 0;
  const note = async (count: number, tenant: string) => {
    for (let i = 0; i < count; i++) await bus.registry.noteJob(`job_${++noted}`, JSON.stringify({ tenant }));
  };
  await note(1, "t");
  await note(999, "other");
  expect(await listed()).toEqual(["job_1"]);
  await note(1, "other");
  expect(await listed()).toEqual([]);
  await note(101, "t");
  expect(await listed()).toEqual(Array.from({ length: 100 }, (_, i) => `job_${1_102 - i}`));
  await api.close();
});

test("where keys are required, nobody gets in before there is one; where they are not, the first one closes the door", async () => {
  const bus = openBus({ url: "memory:" });
  const strict = await testApi({ requireKeys: true }, bus);
  const open = await testApi({ beatMs: 20 }, bus);
  const status = async (url: string, key = "") =>
    (await fetch(`${url}/v1/models`, { headers: key === "" ? {} : { authorization: `Bearer ${key}` } })).status;
  expect([await status(strict.url), await status(open.url)]).toEqual([401, 200]);
  const told = async (path: string) => ((await (await fetch(strict.url + path, { method: "POST" })).json()) as { error: object }).error;
  expect(await told("/v1/chat/completions")).toMatchObject({ message: "no valid API key: send Authorization: Bearer KEY" });
  expect(await told("/v1/messages")).toMatchObject({ type: "authentication_error", message: "no valid API key: send x-api-key: KEY" });
  const { secret, key } = makeKey({ name: "n", tenant: "t", requestsPerMinute: null, tokensPerMinute: null, createdMs: 0 });
  await bus.registry.keepKey(key.id, JSON.stringify(key));
  await expect.poll(() => status(open.url)).toBe(401);
  expect(await status(open.url, secret)).toBe(200);
  await bus.registry.keepKey(key.id, JSON.stringify({ ...key, revokedMs: Date.now() }));
  await expect.poll(() => status(open.url, secret)).toBe(401);
  expect(await status(open.url), "the door stays closed").toBe(401);
  await Promise.all([strict.close(), open.close()]);
});

test("with a certificate the API speaks https; half a setting, or a file that is not there, says what is wrong", async () => {
  const [cert, key] = ["cert.pem", "key.pem"].map((name) => join(packageRoot(), "test/support/tls", name));
  const api = await testApi({ tlsCertFile: cert!, tlsKeyFile: key! });
  expect(api.url).toMatch(/^https:/);
  const status = await new Promise((resolve, reject) => {
    const asked = request(`${api.url}/v1/models`, { ca: readFileSync(cert!), servername: "localhost" }, (response) =>
      resolve(response.statusCode),
    );
    asked.on("error", reject).end();
  });
  expect(status).toBe(200);
  await api.close();
  await expect(testApi({ tlsCertFile: cert! })).rejects.toThrow("LONGSHORE_TLS_KEY_FILE");
  await expect(testApi({ tlsCertFile: cert!, tlsKeyFile: "/nowhere.pem" })).rejects.toThrow(
    "LONGSHORE_TLS_KEY_FILE=/nowhere.pem cannot be read (ENOENT)",
  );
  await expect(testApi({ tlsCertFile: key!, tlsKeyFile: cert! })).rejects.toMatchObject({
    code: "INVALID_REQUEST",
    message: expect.stringContaining(`LONGSHORE_TLS_CERT_FILE=${key}`),
  });
});

test("a request for several answers is one request", async () => {
  const { api, made } = await keyed({ requestsPerMinute: 1 });
  const openai = new OpenAI({ baseURL: `${api.url}/v1`, apiKey: made[0]!.secret, maxRetries: 0 });
  const { data } = await openai.chat.completions.create({ ...chat, n: 3, stream: true }).withResponse();
  await data.toReadableStream().cancel();
  await expect(openai.chat.completions.create({ ...chat, stream: true })).rejects.toMatchObject({ status: 429 });
  await api.close();
});

test("to have tokens counted is a request, on both surfaces", async () => {
  const { api, made } = await keyed({ requestsPerMinute: 2 });
  const { secret: apiKey } = made[0]!;
  const anthropic = new Anthropic({ baseURL: api.url, apiKey, maxRetries: 0 });
  const openai = new OpenAI({ baseURL: `${api.url}/v1`, apiKey, maxRetries: 0 });
  const { model, messages } = chat;
  expect((await anthropic.messages.countTokens({ model, messages })).input_tokens).toBeGreaterThan(0);
  expect((await openai.responses.inputTokens.count({ model, input: "Where?" })).input_tokens).toBeGreaterThan(0);
  await expect(anthropic.messages.countTokens({ model, messages })).rejects.toMatchObject({ status: 429 });
  await expect(openai.responses.inputTokens.count({ model, input: "Where?" })).rejects.toMatchObject({ status: 429 });
  await api.close();
});

test("a path that is spelled otherwise needs the same key, and counts against the same limits", async () => {
  const { api, made } = await keyed({ requestsPerMinute: 1 });
  const body = JSON.stringify({ kind: "completion", request: { model: "yardlog", prompt: "a", max_tokens: 1 } });
  const status = (method: string, path: string, key?: string): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      const headers = { "content-type": "application/json", ...(key === undefined ? {} : { "x-api-key": key }) };
      const asked = requestPlainly(api.url, { method, path, headers }, (response) => resolve(response.resume().statusCode));
      asked.on("error", reject).end(method === "POST" ? body : undefined);
    });
  const spellings = (path: string) => [path, path.replace("/v1", "/%761"), `${api.url}${path}`];
  for (const path of spellings("/v1/models")) expect(await status("GET", path), path).toBe(401);
  const { secret } = made[0]!;
  const answers = [];
  for (const path of [...spellings("/v1/jobs"), ...spellings("/v1/jobs")]) answers.push(await status("POST", path, secret));
  expect(answers).toEqual([202, 429, 429, 429, 429, 429]);
  expect([await status("GET", "/%zz"), await status("GET", "/v1/%zz", secret), await status("GET", "/v1/nothing")]).toEqual([
    400, 400, 401,
  ]);
  await api.close();
});
