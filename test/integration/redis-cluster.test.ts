import { afterAll, beforeAll, expect, test } from "vitest";
import type { LogRecord } from "../../services/shared/bus/events.ts";
import { slotOf } from "../../services/shared/segments/redis/slots.ts";
import { alone } from "../support/alone.ts";
import { engineOptions, promptIds } from "../support/model.ts";
import { beginToMove, endMove, moveKeys, type RedisCluster, startRedisCluster } from "../support/redis-cluster.ts";
import { redisStore } from "../support/segments.ts";
import { requestOf, type TestCluster, testCluster } from "../support/workers.ts";

let redis: RedisCluster;
let store: ReturnType<typeof redisStore>;
let workers: TestCluster;
beforeAll(async () => {
  redis = await startRedisCluster();
  store = redisStore(redis.url);
  workers = testCluster({ store });
});
afterAll(async () => {
  await workers.close();
  await store.close();
  await redis.stop();
});

const request = (salt: number) => requestOf({ prompt: { ids: promptIds(1_500, salt) }, maxTokens: 60, stopIds: [] });
const midPrefill = ({ event }: LogRecord) => event.type === "progress" && event.done >= 500;

test("while slots move, and while a master dies, jobs end with the answers of the engine alone", async () => {
  for (const role of ["prefill", "decode"] as const) workers.start(role, { engine: { chunkMs: 20, stepMs: 2 } });
  const salts = [1, 2, 3, 4];
  const jobs = await Promise.all(salts.map((salt) => workers.submit(request(salt))));

  await workers.until(jobs[0]!, midPrefill);
  const [from, to] = [redis.masters[0]!, redis.masters[1]!];
  const held = await from.client.keys("*}");
  expect(held.length).toBeGreaterThan(0);
  for (const slot of new Set(held.map(slotOf))) {
    await beginToMove(slot, from, to);
    await moveKeys(await from.client.cluster("GETKEYSINSLOT", slot, 100), from, to);
    await endMove(slot, to, redis);
  }
  const { failures } = store.stats();

  await workers.until(jobs[2]!, midPrefill);
  await redis.masters[2]!.kill();
  for (const [i, jobId] of jobs.entries()) {
    const { ids, reason } = await alone(request(salts[i]!), engineOptions);
    expect(await workers.answer(jobId)).toMatchObject({ ids, end: { type: "finished", reason } });
  }
  expect(failures).toBe(0);
  expect(store.stats().failures).toBeGreaterThan(0);
  expect(store.stats().damaged).toBe(0);
});
