import { readFileSync } from "node:fs";
import { deleteJob } from "../../services/api/jobs/jobs.ts";
import { Reconciler } from "../../services/api/reconciler/reconciler.ts";
import { encodeRecord } from "../../services/shared/bus/codec.ts";
import type { JobEvent } from "../../services/shared/bus/events.ts";
import { natsBus } from "../../services/shared/bus/nats/bus.ts";
import { Connection } from "../../services/shared/bus/nats/connection.ts";
import { NatsJournal } from "../../services/shared/bus/nats/journal.ts";
import { Stream } from "../../services/shared/bus/nats/stream.ts";
import { names } from "../../services/shared/bus/nats/subjects.ts";
import { busSettings } from "../../services/shared/bus/settings.ts";
import { advance, type Standing, unborn } from "../../services/shared/bus/standing.ts";
import { silentLog } from "../../services/shared/runtime/log.ts";
import { openMetrics } from "../../services/shared/runtime/metrics.ts";
import { systemRandom } from "../../services/shared/runtime/random.ts";
import { finished, handedOver, request, tokens } from "../support/bus.ts";
import { NatsServer } from "../support/nats.ts";
import { told } from "../support/told.ts";

const USAGE = `npm run bench:record -- [--jobs N]

Puts N finished jobs (100000) into a real nats-server, six events and a note each, and measures what a log of that length costs: memory, append rate,
start-up, what the reconciler does with it, purging. deploy/runbook.md has the figures. A million take about a quarter of an hour and 3 GB of disk.`;

const JOBS = told(USAGE, { jobs: 100_000 }).options.jobs;
/** Jobs written at once. */
const LANES = 256;

const count = (length: number) => Array.from({ length }, (_, i) => 1_000 + i);
const life: readonly JobEvent[] = [
  { type: "submitted", request: request({ prompt: { ids: Int32Array.from(count(40)) } }) },
  { type: "claimed", worker: "prefill_00000000000000000000" },
  handedOver,
  { type: "claimed", worker: "decode_00000000000000000000" },
  tokens(1, ...count(8)),
  finished,
];

const server = await NatsServer.start();
/** Whoever waits for a server that is busy for seconds must not repeat his question meanwhile. */
const settings = busSettings({ url: server.url, answerMs: 120_000, tryMs: 60_000 });
const named = names(settings.prefix);
const bus = natsBus(settings);
await bus.ready(10_000);
const connection = new Connection(server.url, settings, async () => {});
const stream = (name: string) => new Stream(name, connection, settings);
const journal = new NatsJournal(connection, { log: stream(named.log.stream), beats: stream(named.beats.stream) }, named, settings);
await until(() => connection.prepared());

say(`${JOBS} jobs of ${life.length} events`);
const jobs: string[] = [];
await timed("written", async () => {
  let startMs = performance.now();
  await inLanes(LANES, JOBS, async (i) => {
    const jobId = systemRandom.id("job_");
    if (i % Math.ceil(JOBS / 1_000) === 0) jobs.push(jobId);
    await bus.registry.noteJob(jobId, JSON.stringify({ model: "m", tenant: "t", lane: "interactive", promptTokens: 40 }));
    await live(jobId);
    if (i > 0 && i % (JOBS / 10) === 0) {
      const nowMs = performance.now();
      say(`  ${i} jobs: ${rate((JOBS / 10) * life.length, nowMs - startMs)} appends/s, server ${memory()} MB`);
      startMs = nowMs;
    }
  });
});
await timed("1,000 last events", () => inLanes(1, 1_000, (i) => journal.last(jobs[i % jobs.length]!)));

const metrics = openMetrics();
const reconcilerDeps = { bus, metrics, log: silentLog, claimMs: 20_000, graceMs: 30_000, beatMs: 1_000, retentionMs: 1e12 };
await besides("audit of the whole log", () => Reconciler.audit(reconcilerDeps));
await bus.registry.raiseLowWater((await bus.registry.jobs(1))[0]!.place);
await besides("take-over from the low-water mark, and a pass", async () => (await Reconciler.open(reconcilerDeps)).pass());
await besides("500 jobs deleted, 8 at a time", () => inLanes(8, Math.min(500, jobs.length), (i) => deleteJob(bus, jobs[i]!)));

say(`server ${memory()} MB`);
await Promise.all([bus.close(), connection.close()]);
await server.kill();
await timed("start after kill -9", () => server.restart());
const again = natsBus(settings);
await timed("until the record answers", () => again.ready(120_000));
await timed("first job", () => again.log.submit("after", request()));
say(`server ${memory()} MB`);
await again.close();
await server.stop();

/** A job from beginning to end. */
async function live(jobId: string): Promise<void> {
  let standing: Standing = unborn;
  let previous = 0;
  for (const event of life) {
    standing = advance(standing, event);
    const bytes = encodeRecord({ jobId, sequence: 0, previous, ...standing, atMs: Date.now(), event });
    const outcome = await journal.append(jobId, bytes, previous, systemRandom.id(`${jobId}:`));
    if (outcome.kind !== "stored") throw new Error(`an append ended as ${outcome.kind}`);
    previous = outcome.sequence;
  }
}

/** Times `work`, and the longest that a job of somebody else took meanwhile. */
async function besides(what: string, work: () => Promise<unknown>): Promise<void> {
  let working = true;
  let longestMs = 0;
  const other = (async () => {
    while (working) {
      const startMs = performance.now();
      await live(systemRandom.id("job_"));
      longestMs = Math.max(longestMs, performance.now() - startMs);
    }
  })();
  await timed(what, work);
  working = false;
  await other;
  say(`  the longest job meanwhile: ${longestMs.toFixed(0)} ms`);
}

async function timed(what: string, work: () => Promise<unknown>): Promise<void> {
  const startMs = performance.now();
  await work();
  say(`${what}: ${(performance.now() - startMs).toFixed(0)} ms`);
}

async function inLanes(lanes: number, total: number, work: (i: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < total) await work(next++);
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

async function until(attempt: () => Promise<void>): Promise<void> {
  for (;;) {
    try {
      return await attempt();
    } catch {
      await new Promise(setImmediate);
    }
  }
}

function memory(): string {
  const status = readFileSync(`/proc/${server.pid}/status`, "utf8");
  return (Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1_024).toFixed(0);
}

function rate(events: number, ms: number): string {
  return ((1_000 * events) / ms).toFixed(0);
}

function say(line: string): void {
  console.log(line);
}
