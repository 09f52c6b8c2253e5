import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type TestApi, testApi } from "../support/api.ts";
import { junk, type OpenToOthers, openToOthers } from "../support/damage.ts";
import { freshRecord } from "../support/fresh-record.ts";

const { opened } = freshRecord({ claimMs: 300, ackWaitMs: 400 });

/** Jobs that have a message. */
const waiting = async ({ bus }: OpenToOthers) => (await bus.queue.messages("prefill")).map(({ jobId }) => jobId);

describe.each(["memory", "nats"])("%s: over HTTP a damaged job", (kind) => {
  let record: OpenToOthers;
  let api: TestApi;
  beforeAll(async () => {
    record = await opened(openToOthers, kind);
    api = await testApi({ beatMs: 100 }, record.bus);
  });
  afterAll(() => api.close());

  const body = { model: "yardlog", prompt: [1, 2, 3], max_tokens: 5 };
  const call = (method: string, path: string, json?: unknown, headers = {}) =>
    fetch(api.url + path, {
      method,
      ...(json === undefined ? {} : { body: JSON.stringify(json), headers: { "content-type": "application/json", ...headers } }),
    });
  const damagedJob = async () => {
    const { id } = (await (await call("POST", "/v1/jobs", { kind: "completion", request: body })).json()) as { id: string };
    return { id, sequence: await record.write(id, junk) };
  };

  test("is told to its readers in words, as an answer and on a stream, and can be deleted", async () => {
    const { id, sequence } = await damagedJob();
    const error = { type: "server_error", code: "damaged", message: expect.stringContaining(`event ${sequence} of ${id} cannot be read`) };
    const read = await call("GET", `/v1/jobs/${id}`);
    expect([read.status, read.headers.get("x-should-retry"), await read.json()]).toEqual([
      500,
      "false",
      { error: { ...error, param: null } },
    ]);
    for (const path of ["events", "stream"]) {
      const text = await (await call("GET", `/v1/jobs/${id}/${path}`)).text();
      expect(text).toContain(`event ${sequence} of ${id} cannot be read`);
    }
    const listed = (await (await call("GET", "/v1/jobs")).json()) as { data: { id: string }[] };
    expect(listed.data.map((job) => job.id)).toContain(id);
    expect(await (await call("DELETE", `/v1/jobs/${id}`)).json()).toMatchObject({ deleted: true });
    expect(await waiting(record)).toEqual([]);
    expect((await call("GET", `/v1/jobs/${id}`)).status).toBe(404);
  });

  test("that a request waits for is told to it at once; the same request sent again is a new job", async () => {
    const waits = call("POST", "/v1/completions", body);
    await expect.poll(() => waiting(record), { timeout: 20_000 }).toHaveLength(1);
    const [jobId] = await waiting(record);
    await record.write(jobId!, junk);
    const answered = await waits;
    expect([answered.status, ((await answered.json()) as { error: { code: string } }).error.code]).toEqual([500, "damaged"]);
    const again = new AbortController();
    const retry = fetch(`${api.url}/v1/completions`, {
      ...{ method: "POST", body: JSON.stringify(body), signal: again.signal },
      headers: { "content-type": "application/json", "x-stainless-retry-count": "1" },
    });
    await expect.poll(async () => (await waiting(record)).filter((id) => id !== jobId), { timeout: 20_000 }).toHaveLength(1);
    again.abort();
    await expect(retry).rejects.toThrow();
  });
});
