import { afterAll, beforeAll, expect, test } from "vitest";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { type TestApi, testApi } from "../../support/api.ts";
import { overriding } from "../../support/overriding.ts";

const GRACE_MS = 300;
let record: Bus;
let submitting: (jobId: string) => Promise<void> = async () => {};
let api: TestApi;

beforeAll(async () => {
  record = openBus({ url: "memory:", beatLifeMs: 400 });
  const log = overriding(record.log, {
    submit: async (jobId, request) => {
      await submitting(jobId);
      return record.log.submit(jobId, request);
    },
  });
  api = await testApi({ graceMs: GRACE_MS, beatMs: 100 }, { ...record, log });
});
afterAll(() => api.close());

const ask = (stream: boolean, signal?: AbortSignal) =>
  fetch(`${api.url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model: "yardlog", messages: [{ role: "user", content: "Where is red-fox?" }], stream }),
    ...(signal === undefined ? {} : { signal }),
  });
const lastType = async (jobId: string) => (await record.log.last(jobId))?.event.type;

test.each([true, false])("a client who leaves while his job is being written leaves it like any other (stream: %s)", async (stream) => {
  const leaving = new AbortController();
  const left = new Promise<string>((resolve) => {
    submitting = async (jobId) => {
      leaving.abort();
      await new Promise((done) => setTimeout(done, GRACE_MS)); // long enough for the server to hear of it
      resolve(jobId);
    };
  });
  await expect(ask(stream, leaving.signal)).rejects.toThrow();
  const jobId = await left;
  await expect.poll(() => lastType(jobId), { timeout: 5_000 }).toBe("cancelled");
});
