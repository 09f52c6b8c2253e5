import { afterAll, beforeAll, expect, test } from "vitest";
import { jobObject } from "../../../services/api/jobs/job-object.ts";
import { cacheUseOf, timelineOf } from "../../../services/api/jobs/timeline.ts";
import { renderJob } from "../../../services/cli/commands/job.ts";
import type { JobEvent, LogRecord } from "../../../services/shared/bus/events.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { WAITS_FOR_PREFIX } from "../../../services/shared/bus/reasons.ts";
import { advance, unborn } from "../../../services/shared/bus/standing.ts";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import { playText, type TestApi, testApi } from "../../support/api.ts";
import { request } from "../../support/bus.ts";
import { overriding } from "../../support/overriding.ts";

const submitted = { type: "submitted", request: {} } as unknown as JobEvent;
const claimed = (worker: string): JobEvent => ({ type: "claimed", worker });
const progress = (done: number, stored: number, cached?: number): JobEvent => ({
  ...{ type: "progress", done, total: 2_000, stored },
  ...(cached === undefined ? {} : { cached }),
});
const handedOver = (cached: number, recomputed = 0): JobEvent => ({ type: "handed_over", token: 1, boundary: 2_000, cached, recomputed });
const waits: JobEvent = { type: "released", reason: WAITS_FOR_PREFIX, excused: true };

/** The log that these events make, one second after the other by the record's clock; the writers' own clocks are wrong. */
function logOf(...events: readonly JobEvent[]): LogRecord[] {
  let standing = unborn;
  return events.map((event, i) => {
    standing = advance(standing, event);
    return { jobId: "job", sequence: i + 1, previous: i, ...standing, atMs: -1, event };
  });
}
const timeline = (...events: readonly JobEvent[]) => timelineOf(logOf(...events), ({ sequence }) => 1_000 * sequence);

test("the life of a job that three workers had: what each did, how its part ended, and what came between", () => {
  const usage = { promptTokens: 2_000, completionTokens: 4, cachedTokens: 512 };
  const stages = timeline(
    ...[submitted, claimed("p1"), progress(512, 0, 512), progress(1_024, 1, 512)],
    ...[claimed("p2"), progress(1_024, 0, 512), handedOver(512, 128)],
    ...[claimed("d1"), { type: "tokens", first: 1, ids: [2, 3] } as const, { type: "released", reason: "drained", excused: true } as const],
    ...[claimed("d2"), { type: "finished", reason: "length", usage, tokens: { first: 3, ids: [4] } } as const],
  );
  expect(stages).toEqual([
    { stage: "queued", at: 1, seconds: 1, why: "submitted" },
    { stage: "prefill", at: 2, seconds: 3, worker: "p1", from: 512, done: 1_024, total: 2_000, outcome: "lost" },
    { stage: "prefill", at: 5, seconds: 2, worker: "p2", from: 1_024, done: 2_000, total: 2_000, outcome: "handed_over" },
    { stage: "hand_over", at: 7, seconds: 1, boundary: 2_000, recomputed: 128 },
    { stage: "decode", at: 8, seconds: 2, worker: "d1", tokens: 2, outcome: "released" },
    { stage: "queued", at: 10, seconds: 1, why: "drained" },
    { stage: "decode", at: 11, seconds: 1, worker: "d2", tokens: 1, outcome: "finished" },
    { stage: "ended", at: 12, seconds: 0, why: "length" },
  ]);
});

test("a job's times are the record's, whatever the clocks of the API and its workers say", () => {
  const usage = { promptTokens: 2_000, completionTokens: 4, cachedTokens: 512 };
  const records = logOf(submitted, claimed("p"), handedOver(0), claimed("d"), { type: "finished", reason: "stop", usage });
  const storedMs = new Map(records.map(({ sequence }) => [sequence, 1_000 * sequence]));
  const job = jobObject({ id: "job", request: request({ deadlineMs: 60_000 }), records, storedMs, segmentTokens: 512 });
  const attempts = [
    { phase: "prefill", worker: "p", at: 2 },
    { phase: "decode", worker: "d", at: 4 },
  ];
  expect(job).toMatchObject({ created_at: 1, ended_at: 5, deadline_at: 60, attempts });
});

test("what a decode worker computes again is no part of the prompt's progress", () => {
  const again: JobEvent = { type: "progress", done: 1_920, total: 2_010, stored: 0 };
  const records = logOf(submitted, claimed("p"), progress(1_024, 1, 512), handedOver(512), claimed("d"), again);
  const shown = (count: number) =>
    jobObject({
      id: "job",
      request: request({ promptTokens: 2_000 }),
      records: records.slice(0, count),
      storedMs: new Map(),
      segmentTokens: 512,
    });
  expect(shown(2)).toMatchObject({ prefill: null });
  expect(shown(3)).toMatchObject({ prefill: { done: 1_024, total: 2_000, cached: 512 } });
  expect(shown(4)).toMatchObject({ prefill: { done: 2_000, total: 2_000, cached: 512 } });
  expect(shown(6)).toMatchObject({ prefill: { done: 2_000, total: 2_000, cached: 512 } });
});

test("a job that is listed was submitted when the record says so, though the clock of its replica is an hour off", async () => {
  const bus = openBus({ url: "memory:" });
  const ahead = await testApi({}, bus, overriding(systemClock, { nowMs: () => Date.now() + 3_600_000 }));
  const jobs = `${ahead.url}/v1/jobs`;
  const body = JSON.stringify({ kind: "completion", request: { model: "yardlog", prompt: "Where?" } });
  expect((await fetch(jobs, { method: "POST", headers: { "content-type": "application/json" }, body })).status).toBe(202);
  const { data } = (await (await fetch(jobs)).json()) as { data: { created_at: number }[] };
  await ahead.close();
  const noted = await bus.registry.jobs(2);
  expect(data.map(({ created_at }) => created_at)).toEqual(noted.map(({ notedMs }) => Math.floor(notedMs / 1_000)));
  expect(1_000 * data[0]!.created_at).toBeLessThanOrEqual(Date.now());
});

test("what lasts has no length yet, and a job that nobody took ends in the queue", () => {
  expect(timeline(submitted, claimed("p"), progress(100, 0)).at(-1)).toEqual({
    ...{ stage: "prefill", at: 2, seconds: null, worker: "p", from: 100, done: 100, total: 2_000 },
  });
  expect(timeline(submitted, { type: "cancelled", by: "somebody" })).toEqual([
    { stage: "queued", at: 1, seconds: 1, why: "submitted" },
    { stage: "ended", at: 2, seconds: 0, why: "somebody" },
  ]);
});

test("of a job that was handed back without end, the latest is told", () => {
  const turns = Array.from({ length: 1_000 }, () => [claimed("p"), waits]).flat();
  const stages = timeline(submitted, ...turns);
  expect(stages).toHaveLength(256);
  expect(stages.at(-1)).toMatchObject({ stage: "queued", at: 2_001, why: WAITS_FOR_PREFIX });
});

const cases: readonly (readonly [string, number, readonly JobEvent[], object | null])[] = [
  ["nobody looked yet", 2_000, [claimed("p"), progress(0, 0)], null],
  ["nothing was stored", 2_000, [claimed("p"), handedOver(0)], { matched_tokens: 0, source: null, miss: { reason: "nothing_stored" } }],
  ["what is stored ends early", 2_000, [claimed("p"), handedOver(1_024)], { source: "cache", miss: { reason: "prefix_ends" } }],
  [
    "all whole segments were stored",
    2_000,
    [claimed("p"), handedOver(1_536, 256)],
    { source: "cache", recomputed_tokens: 256, miss: null },
  ],
  ["the last token is always run", 1_024, [claimed("p"), handedOver(512)], { miss: null }],
  ["no whole segment", 512, [claimed("p"), handedOver(0)], { miss: { reason: "prompt_too_short" } }],
  ["it waited for another", 2_000, [claimed("p"), waits, claimed("p"), progress(1_536, 0, 1_536)], { source: "another_job", miss: null }],
  ["it took over from itself", 2_000, [claimed("p"), progress(512, 0, 512), claimed("q"), handedOver(512)], { matched_tokens: 512 }],
  [
    "segments were gone",
    2_000,
    [claimed("p"), handedOver(1_536), claimed("d"), { type: "sent_back", reason: "9 segments are gone from the store" }],
    { miss: { reason: "segments_gone", message: expect.stringMatching(/^9 segments/) } },
  ],
];
test.each(cases)("the cache explains: %s", (_, promptTokens, events, expected) => {
  const use = cacheUseOf({ promptTokens, segmentTokens: 512 }, logOf(submitted, ...events));
  if (expected === null) expect(use).toBeNull();
  else expect(use).toMatchObject(expected);
});

let api: TestApi;
beforeAll(async () => {
  api = await testApi();
});
afterAll(() => api.close());

test("a job tells its life by the record's clock, and the command prints it", async () => {
  const post = { method: "POST", headers: { "content-type": "application/json" } };
  const submit = { kind: "completion", request: { model: "yardlog", prompt: "Yard log." } };
  const before = await api.bus.log.nowMs();
  const { id } = (await (await fetch(`${api.url}/v1/jobs`, { ...post, body: JSON.stringify(submit) })).json()) as { id: string };
  await playText(api, "In bay 42.");
  const job = (await (await fetch(`${api.url}/v1/jobs/${id}`)).json()) as Parameters<typeof renderJob>[0];
  const stages = job.timeline.map(({ stage }) => stage);
  expect(stages).toEqual(["queued", "prefill", "hand_over", "decode", "ended"]);
  const [first, ...rest] = job.timeline.map(({ at }) => at);
  expect(1_000 * first!).toBeGreaterThanOrEqual(Math.floor(before));
  for (const [i, at] of rest.entries()) expect(at).toBeGreaterThanOrEqual([first, ...rest][i]!);
  expect(job.cache).toMatchObject({ matched_tokens: 0, miss: { reason: "prompt_too_short" } });
  const text = renderJob(job).split("\n");
  expect(text[0]).toBe(`${id}  finished  yardlog, interactive`);
  expect(text).toContain(`answer    ${job.output_tokens} tokens`);
  expect(text.slice(-5).map((line) => line.split(/ {2,}/)[1])).toEqual(["queued", "prefill", "hand-over", "decode", "ended"]);
  expect(text.at(-2)).toMatch(/tokens, scripted: finished$/);
});
