import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Admission } from "../../../services/api/admission/admission.ts";
import { type SubmitDeps, submit } from "../../../services/api/submit.ts";
import { readCompose } from "../../../services/cli/cluster/compose.ts";
import { isTerminal } from "../../../services/shared/bus/events.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import { packageRoot } from "../../../services/shared/runtime/package-root.ts";
import { systemRandom } from "../../../services/shared/runtime/random.ts";
import { promptIds } from "../../support/model.ts";
import { NatsServer } from "../../support/nats.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { RoleProcess } from "../../support/role-process.ts";
import { requestOf } from "../../support/workers.ts";
import { type Bench, type Goal, repeated, type Scene, secondsOf } from "../bench.ts";
import { quantile } from "../stats.ts";
import { fencedAppends, jobWrites } from "../yardsticks/fenced-appends.ts";

/** So far off that no estimate of the load refuses a job: what is measured is the work, not admission. */
const DEADLINE_MS = 86_400_000;
/** Jobs under way at once, where the cluster is to be kept busy. */
const IN_FLIGHT = 64;
const MODEL = "yardlog";
/** No run takes as long; one deadline for all jobs, because one for each would be measured too. */
const RUN_MS = 900_000;
const PROMPT_TOKENS = 100;
const LIMITS = { queueJobsMax: 100_000, backlogTokensMax: 1e9, shareMs: 10_000 };
/** One flush of a decode worker. */
const ANSWER_TOKENS = 8;

/** One prefill and one decode process with the weightless engine, and this process in the place of an API: real NATS, real Redis. */
export const control: Bench = {
  name: "control",
  about: "short jobs through the record: rate beside raw fenced appends, writes for each, latency at half load",
  async run(scene) {
    const [nats, redis] = await Promise.all([NatsServer.start(), startRedis()]);
    const workers: RoleProcess[] = [];
    const bus = openBus({ url: nats.url });
    const api = {
      bus,
      admission: new Admission(bus, systemClock, MODEL, LIMITS),
      random: systemRandom,
      clock: systemClock,
      late: AbortSignal.timeout(RUN_MS),
    };
    try {
      await bus.ready(10_000);
      for (const role of ["prefill", "decode"] as const) workers.push(await RoleProcess.start(role, environmentOf(nats, redis)));
      await throughJobs(api, scene.tiny ? 64 : 2_000); // code and connections warm
      await measure(scene, nats.url, api);
    } finally {
      await Promise.all(workers.map((worker) => worker.kill()));
      await bus.close();
      await Promise.all([nats.stop(), redis.stop()]);
    }
  },
};

interface Api extends SubmitDeps {
  readonly late: AbortSignal;
}

/** What the compose file tells V8 of a worker. */
const nodeOptions = (): string =>
  readCompose(join(packageRoot(), "docker-compose.yml"), process.env).find(({ name }) => name === "decode")?.environment.NODE_OPTIONS ?? "";

const environmentOf = (nats: NatsServer, redis: RedisServer): Record<string, string> => ({
  NODE_OPTIONS: nodeOptions(),
  LONGSHORE_NATS_URL: nats.url,
  LONGSHORE_REDIS_URL: redis.url,
  LONGSHORE_ENGINE: "weightless",
  LONGSHORE_PREFILL_SLOTS: String(IN_FLIGHT),
  LONGSHORE_BATCH_MAX: String(IN_FLIGHT),
  LONGSHORE_FLUSH_MS: "1000", // one flush is ANSWER_TOKENS, however long a slow host takes for them
});

async function measure(scene: Scene, url: string, api: Api): Promise<void> {
  const jobs = scene.tiny ? 128 : 4_000;
  const rates = await repeated(scene, "jobs", async () => {
    const appends = await fencedAppends(url, (raw) => raw.perSecond(scene.tiny ? 640 : 64_000));
    const before = await jobWrites(url);
    const seconds = await throughJobs(api, jobs);
    return { appends, jobs: jobs / seconds, writes: ((await jobWrites(url)) - before) / jobs };
  });
  const figures = rates.map(({ jobs, writes }) => jobs * writes);
  scene.report({
    key: "control.writes-rate",
    unit: "writes/s",
    figures,
    yardstick: { name: "fenced appends", figures: rates.map(({ appends }) => appends) },
    ratios: rates.map(({ appends }, i) => figures[i]! / appends),
    goal: { atLeast: 0.6 },
  });
  scene.report({ key: "control.jobs-rate", unit: "jobs/s", figures: rates.map(({ jobs }) => jobs) });
  scene.report({ key: "control.writes", unit: "writes/job", figures: rates.map(({ writes }) => writes), goal: { atMost: 8 } });
  const half = (perSecond: readonly number[]) => quantile(perSecond, 0.5) / 2;
  await latency(scene, half(rates.map(({ jobs }) => jobs)), half(rates.map(({ appends }) => appends)), url, api);
}

/** Of jobs, and beside them of the least that a job can be: one append, at half of what the server does of those alone. */
async function latency(scene: Scene, jobs: number, appends: number, url: string, api: Api): Promise<void> {
  const seconds = scene.tiny ? 0.2 : 4;
  const runs = await repeated(scene, "latency", async () => ({
    job: await atRate(jobs, seconds, () => throughJob(api)),
    append: await fencedAppends(url, (raw) => atRate(appends, seconds, () => raw.once())),
  }));
  const report = (key: string, what: keyof (typeof runs)[number], share: number, note: string, goal?: Goal) => {
    const figures = runs.map(({ [what]: ms }) => quantile(ms, share));
    scene.report({ key, unit: "ms", figures, note, ...(goal === undefined ? {} : { goal }) });
  };
  const ofJobs = `at ${Math.round(jobs)} jobs/s`;
  report("control.latency.p50", "job", 0.5, ofJobs);
  report("control.latency.p99", "job", 0.99, ofJobs, { atMost: 10 });
  const ofAppends = `at ${Math.round(appends)} appends/s`;
  report("control.append.p50", "append", 0.5, ofAppends);
  report("control.append.p99", "append", 0.99, ofAppends);
}

/** Milliseconds of each. They begin at a steady rate whatever becomes of them, so that a delay is not hidden by those who wait. */
async function atRate(perSecond: number, seconds: number, once: () => Promise<void>): Promise<number[]> {
  const running: Promise<number>[] = [];
  const startMs = performance.now();
  for (let due = 0; due < perSecond * seconds; due++) {
    const waitMs = startMs + (1_000 * due) / perSecond - performance.now();
    if (waitMs > 1) await sleep(waitMs);
    running.push(secondsOf(once));
  }
  return (await Promise.all(running)).map((each) => 1_000 * each);
}

/** Seconds for `count` jobs from submission to the end, IN_FLIGHT at a time. */
async function throughJobs(api: Api, count: number): Promise<number> {
  let left = count;
  const lane = async () => {
    while (left-- > 0) await throughJob(api);
  };
  return secondsOf(() => Promise.all(Array.from({ length: IN_FLIGHT }, lane)));
}

/** As the API does it: into the record, then read to the end. */
async function throughJob(api: Api): Promise<void> {
  const {
    prompt: _,
    promptTokens: __,
    tenant,
    ...request
  } = requestOf({ model: MODEL, maxTokens: ANSWER_TOKENS, stopIds: [], deadlineMs: Date.now() + DEADLINE_MS });
  const submission = { tenant, request, ids: promptIds(PROMPT_TOKENS, ++salt), idempotencyKey: null, bodyHash: "" };
  const { jobId, log } = await submit(api, submission);
  for await (const { event } of api.bus.log.follow(jobId, 0, api.late, log)) {
    if (event.type === "finished") return;
    if (isTerminal(event)) throw new Error(`a job ended with ${JSON.stringify(event)}`);
  }
  throw new Error(`job ${jobId} did not end`);
}

let salt = 0;
