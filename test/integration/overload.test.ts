import { expect, test } from "vitest";
import { Admission } from "../../services/api/admission.ts";
import { submit } from "../../services/api/submit.ts";
import { isTerminal } from "../../services/shared/bus/contract.ts";
import { ServingError } from "../../services/shared/runtime/errors.ts";
import { seededRandom } from "../../services/shared/runtime/random.ts";
import { VirtualClock } from "../support/virtual-clock.ts";
import { promptIds, requestOf, testCluster, untilEvent } from "../support/workers.ts";

/** 480 tokens are five chunks of 96: two prefill workers do twenty prompts a second, and decode keeps up. */
const engine = { chunkMs: 20, stepMs: 2 };
const PROMPT_TOKENS = 480;
const CAPACITY = 20;
const SECONDS = 30;
const DEADLINE_MS = 4_000;

test("at five times the capacity accepted work meets its deadline; the rest is refused at once, with the time to come back", async () => {
  const clock = new VirtualClock();
  const random = seededRandom(4);
  const cluster = testCluster({ clock });
  const { bus } = cluster;
  const admission = new Admission(bus, clock, "m", { queueJobsMax: 10_000, backlogTokensMax: 1e9 });
  const ends: Promise<string>[] = [];
  const retryAfter: number[] = [];

  const ask = async (salt: number) => {
    const { prompt: _, promptTokens: __, tenant, ...job } = requestOf({ maxTokens: 8, deadlineMs: (await bus.log.nowMs()) + DEADLINE_MS });
    const submission = { tenant, request: job, ids: promptIds(PROMPT_TOKENS, salt), idempotencyKey: null, bodyHash: "" };
    const startMs = clock.monotonicMs();
    try {
      const { jobId } = await submit({ bus, clock, random, admission }, submission);
      ends.push(untilEvent(bus, jobId, ({ event }) => isTerminal(event)).then(({ event }) => event.type));
    } catch (error) {
      if (!(error instanceof ServingError) || error.code !== "OVERLOADED") throw error;
      expect(clock.monotonicMs() - startMs).toBeLessThan(50);
      retryAfter.push(error.retryAfterSeconds ?? 0);
    }
  };
  const load = async () => {
    for (const role of ["prefill", "prefill", "decode"] as const)
      cluster.start(role, { engine: { ...engine, turn: () => clock.sleep(0) } });
    for (let i = 0; i < 5 * CAPACITY * SECONDS; i++) {
      await ask(i);
      await clock.sleep(1_000 / (5 * CAPACITY));
    }
    return Promise.all(ends);
  };
  const ended = await clock.run(load());

  expect(ended.filter((type) => type !== "finished")).toEqual([]);
  expect(ended.length).toBeGreaterThan(0.85 * CAPACITY * SECONDS);
  expect(ended.length + retryAfter.length).toBe(5 * CAPACITY * SECONDS);
  expect(Math.min(...retryAfter)).toBeGreaterThanOrEqual(1);
  expect(Math.max(...retryAfter)).toBeLessThanOrEqual(5);
  await clock.run(cluster.close());
});
