import { afterAll, beforeAll, expect, test } from "vitest";
import { cancelJob } from "../../services/api/jobs/jobs.ts";
import { Readers } from "../../services/api/jobs/readers.ts";
import type { Bus } from "../../services/shared/bus/contract.ts";
import { openBus } from "../../services/shared/bus/open.ts";
import { systemClock } from "../../services/shared/runtime/clock.ts";
import type { SegmentStore } from "../../services/shared/segments/contract.ts";
import { promptIds } from "../support/model.ts";
import { NatsServer } from "../support/nats.ts";
import { overriding } from "../support/overriding.ts";
import { memoryStore, testCluster } from "../support/workers.ts";

const JOBS = 1_000;
let server: NatsServer;

beforeAll(async () => {
  server = await NatsServer.start();
});
afterAll(() => server.stop());

/** Claims of segments as they are held, and how many live now, of whoever. */
function claimsOf(store: SegmentStore) {
  const held = new Map<string, number>();
  const counted = overriding(store, {
    claim: async (key, owner, ttlMs) => {
      const gained = await store.claim(key, owner, ttlMs);
      if (gained) held.set(`${key} ${owner}`, performance.now() + ttlMs);
      return gained;
    },
    unclaim: async (key, owner) => {
      await store.unclaim(key, owner);
      held.delete(`${key} ${owner}`);
    },
  });
  return { counted, count: () => [...held.values()].filter((endMs) => endMs > performance.now()).length };
}

test.each(["memory", "nats"])("%s: a thousand cancels in a burst leave every counter at zero", async (kind) => {
  const bus = openBus({ url: kind === "memory" ? "memory:" : server.url, logMaxBytes: 1e8, payloadsMaxBytes: 1e8 });
  await bus.ready(60_000);
  const { counted, count } = claimsOf(memoryStore());
  const cluster = testCluster({ store: counted, busOf: () => bus });
  const engine = { chunkMs: 2, stepMs: 1 };
  const workers = (["prefill", "prefill", "decode"] as const).map((role) => cluster.start(role, { engine }));
  const readers = new Readers({ bus, clock: systemClock, graceMs: 20, beatMs: 50, replica: "here" });
  const lanes = Array.from({ length: 20 }, async (_, lane) => {
    const ids: string[] = [];
    for (let i = lane; i < JOBS; i += 20) ids.push(await cluster.submit({ prompt: { ids: promptIds(300, i % 10) }, maxTokens: 200 }));
    return ids;
  });
  const jobs = (await Promise.all(lanes)).flat();
  await cluster.until(jobs[0]!, ({ event }) => event.type === "handed_over");

  const leaves = jobs.map((jobId) => readers.enter(jobId, { owned: true, detached: false }));
  await Promise.all(jobs.map((jobId, i) => (i % 2 === 0 ? cancelJob(bus, jobId, "the test") : leaves[i]!(false))));
  for (const [i, leave] of leaves.entries()) if (i % 2 === 0) leave(false);

  const ended = async () => (await Promise.all(jobs.map((jobId) => bus.log.last(jobId)))).map((last) => last!.event.type);
  await expect.poll(async () => [...new Set(await ended())].sort(), { timeout: 30_000, interval: 250 }).toSatisfy(isOver);
  const nothing = { prefill: 0, decode: 0, read: 0, claims: 0, held: [0, 0, 0] };
  await expect.poll(() => counters(bus), { timeout: 20_000 }).toEqual(nothing);
  await cluster.close();
  expect(workers.map((worker) => worker.engine.held)).toEqual(Array(3).fill({ sequences: 0, memories: 0 }));

  async function counters(bus: Bus) {
    const messages = async (phase: "prefill" | "decode") => (await bus.queue.messages(phase)).length;
    const beats = [...(await bus.registry.beats("prefill")).values(), ...(await bus.registry.beats("decode")).values()];
    return {
      prefill: await messages("prefill"),
      decode: await messages("decode"),
      read: readers.count,
      claims: count(),
      held: beats.map((beat) => (JSON.parse(beat) as { jobs: number }).jobs),
    };
  }
});

const isOver = (types: readonly string[]): boolean => types.every((type) => type === "cancelled" || type === "finished");
