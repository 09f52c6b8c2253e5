import { setTimeout as sleep } from "node:timers/promises";
import type { LogRecord } from "../../services/shared/bus/events.ts";
import { audit, type Verdict } from "./audit.ts";
import { ask } from "./client.ts";
import { type ChaosCluster, startChaosCluster } from "./cluster.ts";
import { type Disturbed, disturb, type Storm } from "./disturbances.ts";
import { type Job, jobsOf, oracle } from "./jobs.ts";

export interface ChaosOptions extends Storm {
  readonly jobs: number;
  /** Clients at a time. */
  readonly clients: number;
  /** A job without its answer after this is lost. */
  readonly patienceMs: number;
  readonly onProgress?: (progress: Progress) => void;
}

export interface Progress {
  readonly answered: number;
  readonly lost: number;
  readonly restarts: number;
  readonly seconds: number;
}

export interface ChaosResult {
  readonly disturbed: readonly Disturbed[];
  readonly verdicts: readonly Verdict[];
  /** Jobs without an answer, and why. */
  readonly lost: readonly string[];
  /** Everything else that is not as it must be. */
  readonly faults: readonly string[];
  readonly returns: number;
  readonly seconds: number;
  /** The output of the processes; kept if there is something to look up. */
  readonly folder: string;
}

/** A cluster of processes under a storm, and clients that must not notice. */
export async function chaos(options: ChaosOptions): Promise<ChaosResult> {
  const startMs = performance.now();
  const cluster = await startChaosCluster();
  const over = new AbortController();
  let clean = false;
  let answers = 0;
  const onProgress = (progress: Progress) => {
    answers = progress.answered;
    options.onProgress?.(progress);
  };
  try {
    const storm = disturb(cluster, options, () => answers, over.signal);
    const asked = await askAll(cluster, { ...options, onProgress }, startMs);
    over.abort();
    const { disturbed, unhealed } = await storm;
    const faults = [...asked.faults, ...unhealed, ...(await notIdle(cluster)), ...cluster.replicas.flatMap(({ crashes }) => crashes)];
    clean = faults.length === 0 && asked.lost.length === 0;
    return { ...asked, disturbed, faults, seconds: secondsSince(startMs), folder: cluster.folder };
  } finally {
    over.abort();
    await cluster.stop(!clean);
  }
}

const secondsSince = (startMs: number): number => (performance.now() - startMs) / 1_000;

async function askAll(cluster: ChaosCluster, { jobs: count, seed, clients, patienceMs, onProgress }: ChaosOptions, startMs: number) {
  const { vocabSize, answer } = await oracle();
  const jobs = jobsOf(seed, count, vocabSize);
  const verdicts: Verdict[] = [];
  const lost: string[] = [];
  const faults: string[] = [];
  let returns = 0;
  const one = async (job: Job) => {
    const expected = await answer(job);
    try {
      const reply = await ask(cluster.apis, job, patienceMs);
      returns += reply.returns;
      const verdict = audit(job, expected, reply, await recordsOf(cluster, reply.jobId));
      verdicts.push(verdict);
      faults.push(...verdict.faults.map((fault) => `${job.name} (${job.way}, ${reply.jobId}): ${fault}`));
    } catch (error) {
      lost.push(`${job.name} (${job.way}): ${(error as Error).message}`);
    }
    const restarts = cluster.replicas.reduce((sum, replica) => sum + replica.restarts, 0);
    onProgress?.({ answered: verdicts.length, lost: lost.length, restarts, seconds: secondsSince(startMs) });
  };
  const client = async () => {
    for (let job = jobs.shift(); job !== undefined; job = jobs.shift()) await one(job);
  };
  await Promise.all(Array.from({ length: clients }, client));
  return { verdicts, lost, faults, returns };
}

const AWAY_MS = 30_000;

/** Repeats the read, because the storm goes on meanwhile. */
async function recordsOf({ bus }: ChaosCluster, jobId: string): Promise<readonly LogRecord[]> {
  for (const endMs = performance.now() + AWAY_MS; ; await sleep(100)) {
    try {
      return await bus.log.read(jobId);
    } catch (error) {
      if (performance.now() > endMs) throw error;
    }
  }
}

/**
 * How long messages may be left: one whose holder died is redelivered before it is gone, and one that a killed
 * nats-server kept is swept away.
 */
const IDLE_MS = 30_000;

/** A cluster without work has no messages. */
async function notIdle({ bus: { queue } }: ChaosCluster): Promise<readonly string[]> {
  for (const endMs = performance.now() + IDLE_MS; ; await sleep(100)) {
    const left = (await Promise.all([queue.messages("prefill"), queue.messages("decode")])).flat();
    if (left.length === 0) return [];
    if (performance.now() > endMs) return [`messages are left though all is done: ${left.map(({ jobId }) => jobId).join(" ")}`];
  }
}
