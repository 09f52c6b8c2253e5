import { afterAll, afterEach, beforeAll, beforeEach, expect, onTestFinished, test } from "vitest";
import { isTerminal, type LogRecord, type Phase } from "../../services/shared/bus/events.ts";
import { audit, type Verdict } from "../chaos/audit.ts";
import { ask, type Reply } from "../chaos/client.ts";
import { type ChaosCluster, SEGMENT_TOKENS, settings, startChaosCluster } from "../chaos/cluster.ts";
import { type Expected, type Job, jobsOf, oracle } from "../chaos/jobs.ts";
import type { Replica } from "../chaos/replica.ts";
import { untilEvent } from "../support/answers.ts";
import { testSeed } from "../support/seed.ts";

/** The failures of docs/testing.md that need a cluster of processes, each caused at the moment that hurts. */
const PATIENCE_MS = 45_000;
const ATTEMPTS_MAX = 3;

let cluster: ChaosCluster;
let quiet: Awaited<ReturnType<typeof oracle>>;
beforeAll(async () => {
  quiet = await oracle();
  // The shortest answer goes on for more than a second behind the moment at which somebody is hurt in its middle.
  // Nobody takes Redis away here: an answer that comes late is no miss, for which what it holds would be computed again.
  // What a process asks goes through this one, which may stand still: it has the time to drain that an orchestrator gives.
  const patient = { LONGSHORE_WEIGHTLESS_STEP_MS: "10", LONGSHORE_REDIS_TIMEOUT_MS: "30000", LONGSHORE_DRAIN_MS: "30000" };
  cluster = await startChaosCluster({ ...patient, LONGSHORE_ATTEMPTS_MAX: String(ATTEMPTS_MAX) });
});
afterEach(() => {
  expect(cluster.replicas.flatMap(({ crashes }) => crashes)).toEqual([]);
});
afterAll(() => cluster?.stop(false));

let seed: number;
beforeEach(() => {
  seed = testSeed();
});
let questions = 0;
/** A job with an answer of at least 150 tokens, so that there is something to disturb. */
async function question(promptTokens: number): Promise<{ job: Job; expected: Expected }> {
  for (;;) {
    const name = `question ${++questions} of seed ${seed}`;
    const ids = Int32Array.from({ length: promptTokens }, (_, i) => 3 + ((i * 7_919 + seed + questions * 104_729) % (quiet.vocabSize - 3)));
    const job: Job = { name, ids, way: "stream", maxTokens: 300, seed: 2 * questions }; // even: the first replica is asked first
    const expected = await quiet.answer(job);
    if (expected.ids.length >= 150) return { job, expected };
  }
}

/** Asks the first replica; the id of the job, and what comes of it. */
async function begin(job: Job): Promise<{ jobId: string; reply: Promise<Reply> }> {
  let reply: Promise<Reply> | undefined;
  const jobId = await new Promise<string>((resolve, reject) => {
    reply = ask(cluster.apis, job, PATIENCE_MS, resolve);
    reply.catch(reject);
  });
  return { jobId, reply: reply! };
}

async function judge({ job, expected }: { job: Job; expected: Expected }, reply: Reply): Promise<Verdict> {
  const verdict = audit(job, expected, reply, await cluster.bus.log.read(reply.jobId));
  expect(verdict.faults).toEqual([]);
  return verdict;
}

const answered = async (job: Job): Promise<Verdict> =>
  judge({ job, expected: await quiet.answer(job) }, await ask(cluster.apis, job, PATIENCE_MS));

const replica = (name: string): Replica => cluster.replicas.find((one) => one.name === name)!;
const holder = ({ event }: LogRecord): Replica => cluster.replicas.find((one) => event.type === "claimed" && one.is(event.worker))!;
const claimed = (phase: Phase) => (record: LogRecord) => record.event.type === "claimed" && record.phase === phase;
const inAnswer = ({ tokenCount }: LogRecord) => tokenCount >= 40;

/** The replica that holds the job once `wanted` has happened. */
async function holderAt(jobId: string, wanted: (record: LogRecord) => boolean): Promise<Replica> {
  const { sequence } = await untilEvent(cluster.bus, jobId, wanted);
  const records = await cluster.bus.log.read(jobId);
  return holder(records.findLast((record) => record.event.type === "claimed" && record.sequence <= sequence)!);
}

test("kill -9 of the replica a stream comes from: the other one goes on behind Last-Event-ID", async () => {
  const asked = await question(600);
  const { jobId, reply } = await begin(asked.job);
  await untilEvent(cluster.bus, jobId, inAnswer);
  await replica("api-1").end("SIGKILL");
  expect((await reply).returns).toBeGreaterThan(0);
  expect((await judge(asked, await reply)).takeovers).toBe(0);
});

test("kill -9 of a decode worker between its claim and its first token", async () => {
  const asked = await question(3_000);
  const { jobId, reply } = await begin(asked.job);
  await (await holderAt(jobId, claimed("decode"))).end("SIGKILL");
  expect((await judge(asked, await reply)).segmentsAgain).toBe(0);
});

test.each([
  ["prefill", ({ event }: LogRecord) => event.type === "progress" && event.done > 1_000],
  ["decode", inAnswer],
] as const)(
  "a %s worker cut off from NATS, for longer than its claim lives, is overtaken and changes nothing afterwards",
  async (_, moment) => {
    const asked = await question(12_000);
    const { jobId, reply } = await begin(asked.job);
    const { epoch } = await untilEvent(cluster.bus, jobId, moment);
    const { links } = await holderAt(jobId, moment);
    links.nats.hold();
    await untilEvent(cluster.bus, jobId, (record) => record.epoch > epoch && record.event.type !== "claimed");
    links.nats.release();
    await judge(asked, await reply);
    const records = await cluster.bus.log.read(jobId);
    expect(records.map(({ event, epoch: of }) => `${of} ${event.type}`).join(" ")).toMatch(
      new RegExp(`${epoch} (progress|tokens) ${epoch + 1} claimed`),
    );
  },
);

test.each(["SIGTERM", "SIGKILL"] as const)("nats-server ended by %s in the middle of an answer and started again", async (signal) => {
  const asked = await question(600);
  const { jobId, reply } = await begin(asked.job);
  await untilEvent(cluster.bus, jobId, inAnswer);
  await cluster.nats.kill(signal);
  await cluster.nats.restart();
  await judge(asked, await reply);
});

test("a job that kills every worker that claims it fails with the reason after the attempts allowed; its neighbours do not notice", async () => {
  const poison = await question(2_000);
  const neighbours = [await question(12_000), await question(12_000)];
  const begun = await Promise.all(neighbours.map(({ job }) => begin(job)));
  for (const { reply } of begun) reply.catch(() => {});
  // A worker that dies costs a neighbour a claim. Whoever has stored something since he was claimed can lose as many in a row as the poison does, and the next one is his.
  await Promise.all(begun.map(({ jobId }) => untilEvent(cluster.bus, jobId, hasStored)));
  const deaths = poisonous(begun.map(({ jobId }) => jobId));
  const { jobId, reply } = await begin(poison.job);
  reply.catch(() => {});
  const { event: end } = await untilEvent(cluster.bus, jobId, ({ event }) => isTerminal(event));
  await Promise.all(deaths);
  const claims = (await cluster.bus.log.read(jobId)).filter(({ event }) => event.type === "claimed");
  expect(claims.map(({ attempt }) => attempt)).toEqual([1, 2, 3, 4]); // the fourth is there to say so
  expect(end).toMatchObject({ type: "failed", message: expect.stringContaining("3 workers in a row") });
  await expect(reply).rejects.toThrow("internal error");
  for (const [i, neighbour] of neighbours.entries()) await judge(neighbour, await begun[i]!.reply);
});

const hasStored = ({ epoch, attempt }: LogRecord) => epoch > 0 && attempt === 0;

/**
 * The next so many workers of prefill that claim another job than these die of it: each hears nothing of the record any more once its claim is on the way,
 * so nothing comes of the claim however late the worker is killed. The deaths, as they come.
 */
function poisonous(harmless: readonly string[]): readonly Promise<unknown>[] {
  const claim = new RegExp(`PUB \\w+\\.log\\.(?!(?:${harmless.join("|")}) )(\\w+) `);
  const deaths: Promise<unknown>[] = [];
  for (const one of cluster.replicas.filter(({ role }) => role === "prefill")) {
    const { nats } = one.links;
    nats.holdBehind((sent) => {
      const jobId = claim.exec(sent)?.[1];
      if (jobId === undefined || deaths.length === ATTEMPTS_MAX) return false;
      deaths.push(dies(one, jobId, deaths.length + 1));
      return true;
    });
    onTestFinished(() => {
      nats.holdBehind(null);
      nats.release();
    });
  }
  return deaths;
}

/** Once its claim is in the record. What it said and would have heard since is lost with it; the link is whole again for whoever is started in its place. */
async function dies(one: Replica, jobId: string, claims: number): Promise<void> {
  const made = async () => (await cluster.bus.log.read(jobId)).filter(({ event }) => event.type === "claimed").length;
  await expect.poll(made, { timeout: PATIENCE_MS, interval: 20 }).toBe(claims);
  const end = one.end("SIGKILL");
  one.links.nats.cut();
  one.links.nats.release();
  await end;
}

test("a rolling restart of every process under load: everything drains before it would be killed, and nothing beyond a chunk is computed twice", async () => {
  const jobs = jobsOf(seed, 60, quiet.vocabSize);
  const load = jobs.map(answered);
  for (const one of cluster.replicas) {
    const { code } = await one.end("SIGTERM");
    expect(code, one.name).toBe(0);
  }
  const chunk = Number(settings.LONGSHORE_CHUNK_TOKENS) / SEGMENT_TOKENS;
  const replay = 1;
  const verdicts = await Promise.all(load);
  expect(verdicts.map(({ takeovers }) => takeovers)).toEqual(verdicts.map(() => 0));
  for (const { segmentsAgain, handedBack } of verdicts) expect(segmentsAgain).toBeLessThanOrEqual(handedBack * (chunk + replay));
  expect(verdicts.some(({ handedBack }) => handedBack > 0)).toBe(true);
});

test("values damaged in Redis, and values evicted while they are in use, are misses", async () => {
  const { client } = cluster.redis;
  const asked = await question(3_000);
  const { jobId, reply } = await begin(asked.job);
  await untilEvent(cluster.bus, jobId, claimed("decode"));
  let damaged = 0;
  for (const key of await client.keys("*")) damaged += (await client.type(key)) === "string" ? await flip(key) : 0;
  expect(damaged).toBeGreaterThan(20);
  await judge(asked, await reply);

  const used = Number(/used_memory:(\d+)/.exec(await client.info("memory"))![1]);
  await client.config("SET", "maxmemory-policy", "allkeys-lru");
  await client.config("SET", "maxmemory", used + 100_000);
  for (let own = seed + 1, evicted = 0; evicted === 0; own++) {
    const jobs = jobsOf(own, 20, quiet.vocabSize); // how much they store is drawn, too
    await Promise.all(jobs.map(answered));
    evicted = Number(/evicted_keys:(\d+)/.exec(await client.info("stats"))![1]);
  }
  await client.config("SET", "maxmemory", 0);
});

/** Flips a bit in the middle of a value. */
async function flip(key: string): Promise<number> {
  const value = await cluster.redis.client.getBuffer(key);
  if (value === null || value.length < 2) return 0;
  value[value.length >> 1]! ^= 1;
  await cluster.redis.client.set(key, value, "KEEPTTL");
  return 1;
}

test("a storm of bad requests from one client leaves the others alone", async () => {
  const asked = await question(600);
  const { reply } = await begin(asked.job);
  const jobs = (await cluster.bus.registry.jobs(10_000)).length;
  const bad = (i: number) => ({ model: i % 2 === 0 ? "none" : "yardlog", prompt: i % 2 === 0 ? "x" : [] });
  const statuses = await Promise.all(
    Array.from({ length: 300 }, async (_, i) => {
      const headers = { "content-type": "application/json" };
      const response = await fetch(`${cluster.apis[0]}/v1/completions`, { method: "POST", headers, body: JSON.stringify(bad(i)) });
      await response.text();
      return response.status;
    }),
  );
  expect([...new Set(statuses)].sort()).toEqual([400, 404]);
  expect(await cluster.bus.registry.jobs(10_000), "none became work that would call for workers").toHaveLength(jobs);
  await judge(asked, await reply);
  expect((await reply).returns).toBe(0);
});
