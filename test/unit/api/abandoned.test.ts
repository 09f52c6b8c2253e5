import { afterAll, beforeAll, expect, test } from "vitest";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { ServingError } from "../../../services/shared/runtime/errors.ts";
import { type TestApi, testApi } from "../../support/api.ts";
import { overriding } from "../../support/overriding.ts";

const GRACE_MS = 300;
const PATIENT_MS = 60_000;
type Fault = (jobId: string) => Promise<void>;
const away = async (): Promise<never> => {
  throw new ServingError("UNAVAILABLE", "NATS does not answer");
};
let record: Bus;
/** What happens to the next write of each kind, once it is done. */
const next: { submit?: Fault | undefined; publish?: Fault | undefined; mark?: Fault | undefined } = {};
const once = async (kind: keyof typeof next, jobId: string) => {
  const fault = next[kind];
  next[kind] = undefined;
  await fault?.(jobId);
};
/** Which gives up soon what nobody reads, and which does not. */
let hasty: TestApi;
let patient: TestApi;

beforeAll(async () => {
  record = openBus({ url: "memory:", beatLifeMs: 400 });
  const log = overriding(record.log, {
    submit: async (jobId, request) => {
      const submitted = await record.log.submit(jobId, request);
      await once("submit", jobId);
      return submitted;
    },
  });
  const queue = overriding(record.queue, {
    publish: async (phase, model, lane, item) => {
      await once("publish", item.jobId);
      await record.queue.publish(phase, model, lane, item);
    },
  });
  const registry = overriding(record.registry, {
    markCancelled: async (jobId, by) => {
      await once("mark", jobId);
      await record.registry.markCancelled(jobId, by);
    },
  });
  const open = (graceMs: number) => testApi({ graceMs, beatMs: 100, claimMs: 300 }, { ...record, log, queue, registry });
  [hasty, patient] = [await open(GRACE_MS), await open(PATIENT_MS)];
});
afterAll(() => Promise.all([hasty.close(), patient.close()]));

interface Asking {
  readonly of?: TestApi;
  readonly body?: object;
  readonly headers?: Record<string, string>;
  readonly signal?: AbortSignal;
}
let questions = 0;
const ask = ({ of = hasty, body, headers, signal }: Asking) =>
  fetch(`${of.url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify({ model: "yardlog", messages: [{ role: "user", content: `Question ${++questions}?` }], stream: true, ...body }),
    ...(signal === undefined ? {} : { signal }),
  });
const retry = { "x-stainless-retry-count": "1" };
const same = (content: string) => ({ messages: [{ role: "user", content }] });
const jobOf = (response: Response) => response.headers.get("x-job-id")!;
const cancelled = (jobId: string) =>
  expect.poll(async () => (await record.log.last(jobId))?.event.type, { timeout: 20_000 }).toBe("cancelled");
/** By whom and how often does not matter: a reconciler may come before whoever asks again, and one message too many is harmless. */
const queued = (jobId: string) =>
  expect.poll(async () => (await record.queue.messages("prefill")).map((message) => message.jobId)).toContain(jobId);

test.each([true, false])("a client who leaves while his job is being written leaves it like any other (stream: %s)", async (stream) => {
  const leaving = new AbortController();
  let jobId = "";
  next.submit = async (id) => {
    jobId = id;
    leaving.abort();
    await new Promise((done) => setTimeout(done, GRACE_MS)); // long enough for the server to hear of it
  };
  await expect(ask({ body: { stream }, signal: leaving.signal })).rejects.toThrow();
  await cancelled(jobId);
});

test("a job that is in the record is accepted though the queue does not answer, and gets its message", async () => {
  next.publish = away;
  const response = await ask({});
  expect(response.status).toBe(200);
  await queued(jobOf(response));
  await response.body?.cancel();
});

test("a client who was told 503 of a job that is in the record finds it when he asks again", async () => {
  let jobId = "";
  next.submit = (id) => {
    jobId = id;
    return away();
  };
  const body = same("Where is the red fox?");
  expect((await ask({ of: patient, body })).status).toBe(503);
  await expect.poll(async () => (await record.registry.beats(`left.${jobId}`)).size).toBe(1);
  const again = await ask({ of: patient, body, headers: retry });
  expect(jobOf(again)).toBe(jobId);
  await again.body?.cancel();
});

test.each(["chat/completions", "jobs"])(
  "a job whose client was told 503 at /v1/%s and does not come back ends after the grace",
  async (path) => {
    let jobId = "";
    next.submit = (id) => {
      jobId = id;
      return away();
    };
    const chat = { model: "yardlog", ...same("Where?") };
    const response = await fetch(`${hasty.url}/v1/${path}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(path === "jobs" ? { kind: "chat", request: chat } : chat),
    });
    expect(response.status).toBe(503);
    await cancelled(jobId);
  },
);

test("answers to a request that is refused end even where the record is away when they are to be cancelled", async () => {
  const jobIds: string[] = [];
  const write =
    (fault: Fault): Fault =>
    async (jobId) => {
      jobIds.push(jobId);
      await fault(jobId);
    };
  next.submit = write(async () => {
    next.submit = write(away);
  });
  next.mark = away;
  expect((await ask({ body: { n: 2 } })).status).toBe(503);
  expect(jobIds).toHaveLength(2);
  for (const jobId of jobIds) await cancelled(jobId);
});

test("a job that the queue had no room for waits for its key to come again", async () => {
  next.publish = async () => {
    throw new ServingError("OVERLOADED", "the queue is full");
  };
  const keyed = { of: patient, body: same("Once?"), headers: { "idempotency-key": "once" } };
  expect((await ask(keyed)).status).toBe(429);
  const again = await ask(keyed);
  expect(again.status).toBe(200);
  await queued(jobOf(again));
  expect((await record.log.last(jobOf(again)))?.event.type).toBe("submitted");
  await again.body?.cancel();
});
