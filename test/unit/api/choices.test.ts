import { afterEach, expect, test, vi } from "vitest";
import { Making } from "../../../services/api/admission/making.ts";
import { leftBy } from "../../../services/api/beats.ts";
import { makeKey } from "../../../services/api/keys/key.ts";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import type { JobRequest } from "../../../services/shared/bus/events.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import type { Config } from "../../../services/shared/runtime/config.ts";
import { ServingError } from "../../../services/shared/runtime/errors.ts";
import { Pause } from "../../../services/shared/runtime/pause.ts";
import { playJob, playText, type TestApi, testApi } from "../../support/api.ts";
import { overriding } from "../../support/overriding.ts";

let api: TestApi;
afterEach(() => {
  vi.restoreAllMocks();
  return api.close();
});

const chat = (extra: object = {}) => ({ model: "yardlog", n: 3, messages: [{ role: "user", content: "Where?" }], ...extra });
const post = (body: object, options: { headers?: Record<string, string>; signal?: AbortSignal } = {}) =>
  fetch(`${api.url}/v1/chat/completions`, {
    method: "POST",
    ...options,
    headers: { "content-type": "application/json", ...options.headers },
    body: JSON.stringify(body),
  });
const jobsOf = (response: Response) => response.headers.get("x-job-id")!.split(", ");
const endOf = async (jobId: string) => {
  let type = "";
  for await (const { event } of api.bus.log.follow(jobId, 0, AbortSignal.timeout(20_000))) type = event.type;
  return type;
};
const requestsOf = async (jobIds: readonly string[]): Promise<JobRequest[]> =>
  Promise.all(jobIds.map(async (jobId) => ((await api.bus.log.first(jobId))!.event as { request: JobRequest }).request));

test("all jobs of a request are in the record before the stream begins, with seeds that follow from the one given", async () => {
  api = await testApi();
  const jobIds = jobsOf(await post(chat({ seed: -1, stream: true })));
  expect(jobIds).toHaveLength(3);
  const requests = await requestsOf(jobIds);
  expect(requests.map(({ sampling }) => sampling.seed)).toEqual([2n ** 64n - 1n, 0n, 1n]);
  expect(new Set(requests.map(({ prompt }) => String((prompt as { ids: Int32Array }).ids))).size).toBe(1);
});

test("what comes of each answer is told at once, by its index and under one id; usage counts the prompt once", async () => {
  api = await testApi();
  const response = await post(chat({ stream: true, stream_options: { include_usage: true } }));
  const jobIds = jobsOf(response);
  const texts = ["In bay 42.", "In bay 7.", "Nowhere."];
  const requests = [];
  for (const text of texts) requests.push(await playText(api, text));
  const blocks = (await response.text()).split("\n\n").filter((block) => block.includes("data: {"));
  const chunks = blocks.map((block) => JSON.parse(block.slice(block.indexOf("{"))));
  const said = texts.map((_, index) =>
    chunks.flatMap(({ choices }) => (choices[0]?.index === index ? [choices[0].delta.content ?? ""] : [])).join(""),
  );
  expect(said.toSorted()).toEqual(texts.toSorted()); // the queue gives them out in an order of its own
  expect(new Set(chunks.map(({ id }) => id))).toEqual(new Set([`chatcmpl-${jobIds[0]!.slice(4)}`]));
  expect(chunks.slice(0, -1).filter(({ choices }) => choices[0].finish_reason === "stop")).toHaveLength(3);
  const tokens = (await Promise.all(texts.map((text) => api.tokenizer.encode(text)))).reduce((sum, ids) => sum + ids.length, 0);
  const { promptTokens } = requests[0]!;
  expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { prompt_tokens: promptTokens, completion_tokens: tokens } });
  for (const [index, jobId] of jobIds.entries()) {
    const alone = await (await fetch(`${api.url}/v1/jobs/${jobId}/stream`)).text();
    expect(alone).toContain(`"index":${index},`);
    expect(alone.endsWith("data: [DONE]\n\n")).toBe(true);
  }
});

test("the usage of a stream is that of the whole answer, whichever of its answers ended last", async () => {
  api = await testApi();
  const response = await post(chat({ n: 2, stream: true, stream_options: { include_usage: true } }));
  const ends: ((cachedTokens: number) => Promise<unknown>)[] = [];
  for (let job = 0; job < 2; job++) {
    const ids = [...(await api.tokenizer.encode("In bay 42."))];
    await playJob(api.bus, "yardlog", {
      ids,
      end: async (claim, { promptTokens, view }) => {
        const { choice } = JSON.parse(view) as { choice?: { index: number } };
        ends[choice?.index ?? 0] = (cachedTokens) =>
          claim.append({ type: "finished", reason: "stop", usage: { promptTokens, completionTokens: ids.length, cachedTokens } });
      },
    });
  }
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  const until = async (wanted: RegExp) => {
    while (!wanted.test(text)) text += (await reader.read()).value;
  };
  await ends[1]!(2);
  await until(/"index":1,.*"finish_reason":"stop"/);
  await ends[0]!(1);
  await until(/\[DONE\]/);
  const usage = /^data: (.*"choices":\[\],"usage".*)$/m.exec(text)![1]!;
  expect(JSON.parse(usage)).toMatchObject({ usage: { prompt_tokens_details: { cached_tokens: 1 } } });
});

test("when the reader leaves, all of them end", async () => {
  api = await testApi({ graceMs: 30 });
  const leaving = new AbortController();
  const jobIds = jobsOf(await post(chat({ stream: true }), { signal: leaving.signal }));
  leaving.abort();
  expect(await Promise.all(jobIds.map(endOf))).toEqual(["cancelled", "cancelled", "cancelled"]);
});

test("one that is cancelled ends the answer for all, in the stream and in one piece", async () => {
  api = await testApi({ graceMs: 30 });
  const response = await post(chat({ stream: true }));
  const jobIds = jobsOf(response);
  await fetch(`${api.url}/v1/jobs/${jobIds[1]}/cancel`, { method: "POST", headers: { "content-type": "application/json" }, body: "{}" });
  expect(await response.text()).toMatch(/"code":"cancelled"\}\}\n\n$/);
  expect(await Promise.all(jobIds.map(endOf))).toEqual(["cancelled", "cancelled", "cancelled"]);
});

/** An API with a key that may use so many tokens a minute. */
async function openTo(tokensPerMinute: number, settings: Partial<Config> = {}, bus = openBus({ url: "memory:" })) {
  const { key, secret } = makeKey({ name: "n", tenant: "t", requestsPerMinute: 5, tokensPerMinute, createdMs: 0 });
  await bus.registry.keepKey(key.id, JSON.stringify(key));
  api = await testApi(settings, bus);
  return { authorization: `Bearer ${secret}` };
}
const standing = ({ headers }: Response) => ["requests", "tokens"].map((kind) => Number(headers.get(`x-ratelimit-remaining-${kind}`)));

test.each([{}, { "idempotency-key": "once" }])("when there is no room for all, none is begun, and none is paid for (%j)", async (keyed) => {
  const headers = await openTo(4_000, { queueJobsMax: 2 });
  const refused = await post(chat(), { headers: { ...headers, ...keyed } });
  expect([refused.status, ...standing(refused)]).toEqual([429, 5, 4_000]);
  expect(await api.bus.registry.jobs(10)).toEqual([]);
  const two = await post(chat({ n: 2, stream: true }), { headers });
  expect([two.status, jobsOf(two).length], "what was refused takes no room").toEqual([200, 2]);
});

test.each([{}, { "idempotency-key": "once" }])(
  "answers that take more together than a minute has get in when nothing is used, as one that does, and are paid for then (%j)",
  async (keyed) => {
    const headers = await openTo(1_000);
    const large = chat({ max_tokens: 600, stream: true });
    const first = await post(large, { headers: { ...headers, ...keyed } });
    expect([first.status, ...standing(first)]).toEqual([200, 4, 0]);
    expect(jobsOf(first)).toHaveLength(3);
    const second = await post(large, { headers });
    expect(second.status).toBe(429);
    expect(Number(second.headers.get("retry-after")), "more than a bucket is owed").toBeGreaterThan(60);
    expect(await api.bus.registry.jobs(10)).toHaveLength(3);
  },
);

test("answers that are more together than may wait get in where nothing waits, as one that is, and only there", async () => {
  const headers = await openTo(100_000, { backlogTokensMax: 1_000 });
  const large = chat({ max_tokens: 600, stream: true });
  const first = await post(large, { headers });
  expect([first.status, jobsOf(first).length]).toEqual([200, 3]);
  expect((await post(chat(), { headers })).status).toBe(429);
});

test("what was made under a key before another answer failed is cancelled unless somebody comes for it", async () => {
  const record = openBus({ url: "memory:" });
  let submitted = 0;
  const submit: Bus["log"]["submit"] = async (jobId, request) => {
    if (++submitted === 2) throw new ServingError("OVERLOADED", "the log is full");
    return record.log.submit(jobId, request);
  };
  const headers = await openTo(100_000, { graceMs: 30 }, { ...record, log: overriding(record.log, { submit }) });
  const refused = await post(chat(), { headers: { ...headers, "idempotency-key": "once" } });
  expect(refused.status).toBe(429);
  const [first] = (await record.registry.jobs(10)).toReversed();
  expect(await endOf(first!.jobId)).toBe("cancelled");
});

test("the same Idempotency-Key joins the same jobs, each in its place", async () => {
  api = await testApi();
  const headers = { "idempotency-key": "once" };
  const first = await post(chat({ stream: true }), { headers });
  const second = await post(chat({ stream: true }), { headers });
  expect(jobsOf(second)).toEqual(jobsOf(first));
  expect((await post(chat({ n: 2, stream: true }), { headers })).status).toBe(409);
});

test.each([1, 2])(
  "who comes again under his key while the record writes answer %i joins all of them, though nothing is left of his limits",
  async (place) => {
    const record = openBus({ url: "memory:" });
    const [written, waits] = [new Pause(), new Pause()];
    let submitted = 0;
    const submit: Bus["log"]["submit"] = async (jobId, request) => {
      if (++submitted === place) await written.wait(systemClock, 20_000);
      return record.log.submit(jobId, request);
    };
    const { wait } = Making.prototype;
    vi.spyOn(Making.prototype, "wait").mockImplementation(function (this: Making, ...about) {
      const waiting = wait.apply(this, about);
      waits.end();
      return waiting;
    });
    const headers = await openTo(1_000, {}, { ...record, log: overriding(record.log, { submit }) });
    const come = () => post(chat({ max_tokens: 600, stream: true }), { headers: { ...headers, "idempotency-key": "once" } });
    const first = come();
    await expect.poll(() => submitted, { timeout: 20_000 }).toBe(place);
    const second = come();
    await Promise.race([second, waits.wait(systemClock, 20_000)]);
    written.end();
    expect([(await first).status, (await second).status]).toEqual([200, 200]);
    expect(jobsOf(await second)).toEqual(jobsOf(await first));
    expect(standing(await second), "it pays nothing").toEqual(standing(await first));
    expect(submitted).toBe(3);
  },
);

test("a request sent again after its reader was lost joins all of its jobs", async () => {
  api = await testApi({ graceMs: 60_000, beatMs: 20 });
  const leaving = new AbortController();
  const jobIds = jobsOf(await post(chat({ stream: true }), { signal: leaving.signal }));
  leaving.abort();
  const isLeft = async (jobId: string) => (await api.bus.registry.beats(leftBy(jobId))).size > 0;
  await vi.waitUntil(async () => (await Promise.all(jobIds.map(isLeft))).every(Boolean), 20_000);
  const again = await post(chat({ stream: true }), { headers: { "x-stainless-retry-count": "1" } });
  expect(jobsOf(again)).toEqual(jobIds);
});
