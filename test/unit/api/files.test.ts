import { createHash } from "node:crypto";
import { subscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { connect } from "node:net";
import OpenAI, { toFile } from "openai";
import { afterEach, expect, test } from "vitest";
import { FILE_BYTES_MAX } from "../../../services/api/routes/files.ts";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { type TestApi, testApi } from "../../support/api.ts";
import { overriding } from "../../support/overriding.ts";

let api: TestApi;
afterEach(() => api?.close());

const clientOf = (key: string) => new OpenAI({ baseURL: `${api.url}/v1`, apiKey: key, maxRetries: 0 });
const digest = (key: string) => createHash("sha256").update(key).digest("hex");
const upload = (client: OpenAI, text: string, name = "in.jsonl") =>
  toFile(Buffer.from(text), name).then((file) => client.files.create({ file, purpose: "batch" }));

/** A bus that says which parts of files lie in it. */
function watched(): { readonly bus: Bus; readonly parts: Map<string, number> } {
  const bus = openBus({ url: "memory:" });
  const parts = new Map<string, number>();
  const files = overriding(bus.files, {
    put: async (key: string, bytes: Uint8Array) => {
      await bus.files.put(key, bytes);
      parts.set(key, bytes.length);
    },
    delete: async (key: string) => {
      await bus.files.delete(key);
      parts.delete(key);
    },
  });
  return { bus: { ...bus, files }, parts };
}

test("a file comes back as it was sent, in parts of bounded size, until it is deleted", async () => {
  const { bus, parts } = watched();
  api = await testApi({}, bus);
  const client = clientOf("none");
  const text = "0123456789abcdef".repeat(200_000); // 3.2 MB
  const file = await upload(client, text, "grüße.jsonl");
  expect(file).toMatchObject({ object: "file", bytes: 3_200_000, filename: "grüße.jsonl", purpose: "batch", status: "processed" });
  expect(file.id).toMatch(/^file-[0-9a-z]{20}$/);
  expect(file.expires_at! - file.created_at).toBe(30 * 86_400);
  expect([...parts.values()]).toEqual([1_048_576, 1_048_576, 1_048_576, 3_200_000 - 3 * 1_048_576]);
  expect(await client.files.retrieve(file.id)).toEqual(file);
  expect(await (await client.files.content(file.id)).text()).toBe(text);
  expect(await client.files.delete(file.id)).toEqual({ id: file.id, object: "file", deleted: true });
  expect(parts.size).toBe(0);
  await expect(client.files.retrieve(file.id)).rejects.toBeInstanceOf(OpenAI.NotFoundError);
});

test("an upload is one however its type is written", async () => {
  const { bus, parts } = watched();
  api = await testApi({}, bus);
  const field = (name: string) => `--b\r\ncontent-disposition: form-data; name="${name}"`;
  const text = `${field("purpose")}\r\n\r\nbatch\r\n${field("file")}; filename="f"\r\n\r\n${"x".repeat(3_000_000)}\r\n--b--\r\n`;
  const sent = await fetch(`${api.url}/v1/files`, {
    method: "POST",
    headers: { "content-type": "Multipart/Form-Data; boundary=b" },
    body: new Blob([text]).stream(),
    duplex: "half", // its length is not told
    signal: AbortSignal.timeout(20_000),
  });
  expect([sent.status, [...parts.values()].length]).toEqual([200, 3]);
}, 30_000);

test("whoever asks for the headers of a file's content gets them, and none of its parts is read", async () => {
  const { bus } = watched();
  const read: string[] = [];
  const files = overriding(bus.files, {
    get: (key: string) => {
      read.push(key);
      return bus.files.get(key);
    },
  });
  api = await testApi({}, { ...bus, files });
  const { id } = await upload(clientOf("none"), "x".repeat(3_000_000));
  const { status, headers } = await fetch(`${api.url}/v1/files/${id}/content`, { method: "HEAD" });
  expect([status, headers.get("content-length"), read]).toEqual([200, "3000000", []]);
});

test("lists go newest first in pages that the client turns by itself, and can be asked for by purpose", async () => {
  api = await testApi();
  const client = clientOf("none");
  const files: OpenAI.FileObject[] = [];
  for (let i = 0; i < 7; i++) files.push(await upload(client, `${i}`));
  const byAge = files.toSorted((a, b) => a.created_at - b.created_at || (a.id < b.id ? -1 : 1));
  const all: OpenAI.FileObject[] = [];
  for await (const file of client.files.list({ limit: 3, order: "asc" })) all.push(file);
  expect(all).toEqual(byAge);
  expect(await client.files.list({ limit: 3 })).toMatchObject({ data: byAge.toReversed().slice(0, 3), has_more: true });
  expect((await client.files.list({ purpose: "batch_output" })).data).toEqual([]);
  await expect(client.files.list({ after: "file-none" })).rejects.toMatchObject({ status: 404, param: "after" });
  await expect(client.files.list({ limit: 0 })).rejects.toMatchObject({ status: 400, param: "limit" });
});

test("another tenant neither sees, reads nor deletes a file", async () => {
  api = await testApi({ apiKeys: [digest("one"), digest("two")].join(",") });
  const { id } = await upload(clientOf("one"), "secret");
  const other = clientOf("two");
  for (const look of [() => other.files.retrieve(id), () => other.files.content(id), () => other.files.delete(id)])
    await expect(look()).rejects.toMatchObject({ status: 404, message: expect.stringContaining(`no file ${id}`) });
  expect((await other.files.list()).data).toEqual([]);
  expect(await (await clientOf("one").files.content(id)).text()).toBe("secret");
});

test("what is refused leaves nothing behind, and says why in OpenAI's form", async () => {
  const { bus, parts } = watched();
  api = await testApi({}, bus);
  const send = async (fields: Record<string, string | Blob>) => {
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    const response = await fetch(`${api.url}/v1/files`, { method: "POST", body: form });
    const { error } = (await response.json()) as { error: { param: string | null; code: string; type: string } };
    return [response.status, error.param, error.type];
  };
  const file = new Blob(["x".repeat(2_000_000)]);
  const bad = "invalid_request_error";
  expect(await send({ file, purpose: "assistants" })).toEqual([400, "purpose", bad]);
  expect(await send({ file })).toEqual([400, "purpose", bad]);
  expect(await send({ purpose: "batch" })).toEqual([400, "file", bad]);
  expect(await send({ other: file, purpose: "batch" })).toEqual([400, "file", bad]);
  expect(await send({ file, other: file, purpose: "batch" })).toEqual([400, null, bad]);
  expect(await send({ file, purpose: "batch", "expires_after[seconds]": "1" })).toEqual([400, "expires_after[seconds]", bad]);
  const raw = async (type: string, body: string) =>
    (await fetch(`${api.url}/v1/files`, { method: "POST", headers: { "content-type": type }, body })).status;
  const part = (name: string, value: string) => `--B\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;
  const cutOff = `${part("purpose", "batch")}${part('file"; filename="a', "x".repeat(2_000_000))}`;
  expect(await raw("application/json", "{}")).toBe(400);
  expect(await raw("multipart/form-data", "x")).toBe(400);
  expect(await raw("multipart/form-data; boundary=B", cutOff)).toBe(400);
  expect(parts.size).toBe(0);
  expect((await clientOf("none").files.list()).data).toEqual([]);
});

test("a file may come without a name", async () => {
  api = await testApi();
  const part = (head: string, value: string) => `--B\r\ncontent-disposition: form-data; ${head}\r\n\r\n${value}\r\n`;
  const body = `${part('name="purpose"', "batch")}${part('name="file"\r\ncontent-type: application/octet-stream', "x")}--B--\r\n`;
  const headers = { "content-type": "multipart/form-data; boundary=B" };
  const response = await fetch(`${api.url}/v1/files`, { method: "POST", headers, body });
  expect([response.status, await response.json()]).toMatchObject([200, { filename: "file", bytes: 1 }]);
});

test("a file beyond the limit is a 413, one byte less is taken", async () => {
  const { bus, parts } = watched();
  api = await testApi({}, bus);
  const chunk = new Uint8Array(1_048_576);
  async function* form(bytes: number): AsyncGenerator<Uint8Array> {
    const field = (rest: string, value = "") => `--B\r\ncontent-disposition: form-data; ${rest}\r\n\r\n${value}`;
    yield Buffer.from(`${field('name="purpose"', "batch\r\n")}${field('name="file"; filename="in.jsonl"')}`);
    for (let left = bytes; left > 0; left -= chunk.length) yield chunk.subarray(0, left);
    yield Buffer.from("\r\n--B--\r\n");
  }
  const headers = { "content-type": "multipart/form-data; boundary=B" };
  const send = (bytes: number) => fetch(`${api.url}/v1/files`, { method: "POST", headers, body: form(bytes), duplex: "half" });
  const large = await send(FILE_BYTES_MAX + 1);
  expect([large.status, ((await large.json()) as { error: { code: string } }).error.code]).toEqual([413, "file_too_large"]);
  expect(parts.size).toBe(0);
  expect((await send(FILE_BYTES_MAX)).status).toBe(200);
});

test("a download that its reader does not take is let go", async () => {
  api = await testApi({ heartbeatMs: 100 });
  const { id } = await upload(clientOf("none"), "x".repeat(32 * 1024 * 1024));
  const path = `/v1/files/${id}/content`;
  const asked = new Promise<ServerResponse>((resolve) =>
    subscribe("http.server.request.start", (message) => {
      const { request, response } = message as { request: IncomingMessage; response: ServerResponse };
      if (request.url === path) resolve(response);
    }),
  );
  const socket = connect(Number(new URL(api.url).port), "127.0.0.1").pause();
  socket.write(`GET ${path} HTTP/1.1\r\nhost: longshore\r\n\r\n`);
  const response = await asked;
  await once(response, "close");
  expect(response.writableFinished).toBe(false);
  socket.destroy();
});

test("without room for files an upload is a 429, and nothing of it stays", async () => {
  api = await testApi({}, openBus({ url: "memory:", filesMaxBytes: 2_500_000 }));
  const client = clientOf("none");
  await expect(upload(client, "x".repeat(3_000_000))).rejects.toMatchObject({ status: 429 });
  expect((await upload(client, "x".repeat(2_000_000))).bytes).toBe(2_000_000);
});

test("a batch is created once under its key, and cancelled as long as there is something to cancel", async () => {
  api = await testApi();
  const client = clientOf("none");
  const { id } = await upload(client, "{}");
  const ask = {
    input_file_id: id,
    endpoint: "/v1/chat/completions",
    completion_window: "24h",
    metadata: { team: "yard", at: "night" },
  } as const;
  const batch = await client.batches.create(ask, { headers: { "Idempotency-Key": "key" } });
  expect(batch).toMatchObject({ object: "batch", status: "validating", errors: null, output_file_id: null, metadata: ask.metadata });
  expect(batch.expires_at! - batch.created_at).toBe(86_400);
  expect(batch.request_counts).toEqual({ total: 0, completed: 0, failed: 0 });
  expect(await client.batches.create(ask, { headers: { "Idempotency-Key": "key" } })).toEqual(batch);
  const turned = { ...ask, metadata: { at: "night", team: "yard" } }; // gRPC's maps have no order
  expect(await client.batches.create(turned, { headers: { "Idempotency-Key": "key" } })).toEqual(batch);
  const again = { headers: { "x-stainless-retry-count": "1" } };
  expect((await client.batches.create(ask, again)).id).toBe(batch.id); // an SDK whose connection broke
  const second = await client.batches.create(ask);
  expect(second.id).not.toBe(batch.id);
  const other = { ...ask, metadata: { team: "other" } };
  expect([batch.id, second.id]).not.toContain((await client.batches.create(other, again)).id);
  await expect(client.batches.create(other, { headers: { "Idempotency-Key": "key" } })).rejects.toBeInstanceOf(OpenAI.ConflictError);
  await expect(client.files.delete(id)).rejects.toBeInstanceOf(OpenAI.ConflictError);
  expect(await client.batches.cancel(batch.id)).toMatchObject({ status: "cancelling", cancelling_at: expect.any(Number) });
  expect((await client.batches.retrieve(batch.id)).status).toBe("cancelling");
  expect((await client.batches.list()).data.map((listed) => listed.id)).toContain(batch.id);
});

test.each([
  ["in_progress", null, true],
  ["completed", null, true],
  ["in_progress", 1, false],
  ["cancelled", 1, false],
  ["failed", null, false],
  ["expired", null, false],
])(
  "a request that is sent again and finds an equal batch that is %s, cancelled at %j: joined is %j",
  async (status, cancellingAt, joins) => {
    api = await testApi();
    const client = clientOf("none");
    const { id } = await upload(client, "{}");
    const ask = { input_file_id: id, endpoint: "/v1/chat/completions", completion_window: "24h" } as const;
    const earlier = (await client.batches.create(ask)).id;
    const { text, place } = (await api.bus.documents.get("batch", "default", earlier))!;
    const changed = { ...JSON.parse(text), status, cancellingAt };
    await api.bus.documents.put("batch", "default", earlier, JSON.stringify(changed), place);
    const answered = await client.batches.create(ask, { headers: { "x-stainless-retry-count": "1" } });
    expect(answered.id === earlier).toBe(joins);
  },
);

test("batches are listed newest first in pages, each as it stands", async () => {
  api = await testApi();
  const client = clientOf("none");
  const { id } = await upload(client, "{}");
  const made: OpenAI.Batch[] = [];
  for (let i = 0; i < 5; i++)
    made.push(await client.batches.create({ input_file_id: id, endpoint: "/v1/completions", completion_window: "24h" }));
  const newest = made.toSorted((a, b) => b.created_at - a.created_at || (a.id < b.id ? 1 : -1));
  expect(await client.batches.list({ limit: 2 })).toMatchObject({ data: newest.slice(0, 2), has_more: true });
  const all: OpenAI.Batch[] = [];
  for await (const batch of client.batches.list({ limit: 2 })) all.push(batch);
  expect(all).toEqual(newest);
  await expect(client.batches.list({ after: "batch_none" })).rejects.toMatchObject({ status: 404, param: "after" });
});

test.each([
  [{ endpoint: "/v1/embeddings" }, 400, "endpoint"],
  [{ completion_window: "1h" }, 400, "completion_window"],
  [{ metadata: { ["k".repeat(65)]: "v" } }, 400, "metadata"],
  [{ metadata: { k: 5 } }, 400, "metadata.k"],
  [{ input_file_id: "file-00000000000000000000" }, 404, "input_file_id"],
  [{ input_file_id: 5 }, 400, "input_file_id"],
])("a batch asked for with %j is a %d about %s", async (change, status, param) => {
  api = await testApi();
  const { id } = await upload(clientOf("none"), "{}");
  const body = { input_file_id: id, endpoint: "/v1/completions", completion_window: "24h", ...change };
  const response = await fetch(`${api.url}/v1/batches`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const { error } = (await response.json()) as { error: { param: string } };
  expect([response.status, error.param.slice(0, param.length)]).toEqual([status, param]);
});
