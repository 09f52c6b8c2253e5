import { WAITS_FOR_PREFIX } from "../shared/bus/reasons.ts";
import type { Allowed, Opened } from "../shared/engine/engine.ts";
import type { ChunkSize } from "../shared/worker/chunk-size.ts";
import type { Context, contextFactory, Found } from "../shared/worker/context.ts";
import type { WorkerDeps, WorkerSettings } from "../shared/worker/deps.ts";
import { type Filled, fill } from "../shared/worker/fill.ts";
import type { HeldJob } from "../shared/worker/held-job.ts";
import { firstCached, loggedTokens } from "../shared/worker/history.ts";
import { Interrupted } from "../shared/worker/interrupted.ts";
import { promptOf } from "../shared/worker/prompt.ts";
import { passOn } from "../shared/worker/settle.ts";
import { SegmentClaims } from "./segment-claims.ts";

export interface PrefillSettings extends WorkerSettings {
  /** Jobs held at once. */
  readonly prefillSlots: number;
  readonly chunkMs: number;
}

export interface PrefillWorker {
  readonly deps: WorkerDeps;
  readonly settings: PrefillSettings;
  readonly contextOf: ReturnType<typeof contextFactory>;
  /** Shared by all its jobs: the engine computes one chunk at a time. */
  readonly chunks: ChunkSize;
}

/**
 * Turns a prompt into stored segments, a boundary and the first token, and hands the job to decode. A job that was sent
 * back has tokens in its log already: then the sequence is the prompt and all of these but the last, and nothing is
 * drawn again.
 */
export async function runPrefill(worker: PrefillWorker, job: HeldJob): Promise<void> {
  const { bus, engine, store, clock } = worker.deps;
  const prompt = await promptOf(bus.payloads, job.request, engine.info);
  const logged = loggedTokens(job.history);
  const context = worker.contextOf(job, prompt, logged);
  const claims = new SegmentClaims(store, clock, context, job.jobId, worker.settings.claimMs);
  try {
    const stored = await countStored(job, context, claims);
    await context.enter(context.ids.length);
    const found = await context.find(context.ids.length - 1, stored, job.request.stopIds);
    job.turn.loaded();
    const cached = firstCached(job.history) ?? Math.min(found.storedTokens, prompt.length);
    const draws = logged.length === 0;
    const allowed = draws ? await firstAllowed(worker, job) : null;
    const run: Run = { worker, job, context, claims, found, cached, draws, allowed };
    const { drawn, recomputed } = await compute(run);
    const first = logged[0] === undefined ? { ...drawn, token: drawn.token! } : { token: logged[0] };
    const boundary = context.ids.length;
    await passOn(bus, job, "decode", { type: "handed_over", ...first, boundary, cached, recomputed }, context.settled());
  } finally {
    await context.settled();
    context.release();
    if (!job.claim.lost) await claims.end();
  }
}

/**
 * Leading stored segments of the context but its last token, which is always run. Claims the first that is missing.
 * Throws Interrupted (waiting) while another job computes it.
 */
async function countStored(job: HeldJob, context: Context, claims: SegmentClaims): Promise<number> {
  const tokens = context.ids.length - 1;
  const whole = Math.floor(tokens / context.segmentTokens); // every job runs the rest itself
  for (;;) {
    job.check();
    const stored = await context.countStored(tokens);
    job.pulse(); // an answer of a slow store may take part of the claim's time
    if (stored === whole) return stored;
    if (!(await claims.take(stored))) throw new Interrupted("waiting", WAITS_FOR_PREFIX);
    job.pulse();
    if ((await context.countStored(tokens)) === stored) return stored; // else its holder finished while we asked
  }
}

interface Run {
  readonly worker: PrefillWorker;
  readonly job: HeldJob;
  readonly context: Context;
  readonly claims: SegmentClaims;
  readonly found: Found;
  readonly cached: number;
  /** Whether the answer's first token is still to be drawn. */
  readonly draws: boolean;
  /** The tokens it may be; null: any. */
  readonly allowed: Allowed | null;
}

async function firstAllowed({ deps }: PrefillWorker, job: HeldJob): Promise<Allowed | null> {
  const { constraint } = job.request;
  if (constraint === undefined) return null;
  const answer = deps.grammars.follow(constraint);
  try {
    return await job.keptWhile(answer.allowed([]));
  } finally {
    answer.close();
  }
}

async function compute(run: Run): Promise<{ drawn: Filled; recomputed: number }> {
  const { engine } = run.worker.deps;
  const { segments, boundary, storedTokens } = run.found;
  const opened = await engine.open({ segments: segments.map(({ memory }) => memory), boundary });
  try {
    const total = run.context.ids.length;
    // A successor must not count what this job stores as stored by others.
    if (storesMore(run.context, opened.position)) await run.job.tell({ done: opened.position, total, cached: run.cached });
    const drawn = await computeFrom(run, opened);
    return { drawn, recomputed: Math.max(0, storedTokens - opened.position) };
  } finally {
    await engine.close(opened.sequence);
  }
}

const storesMore = ({ ids, segmentTokens }: Context, position: number): boolean =>
  Math.floor(ids.length / segmentTokens) > Math.floor(position / segmentTokens);

/** Resolves once every segment is stored or refused; the boundary at the end is on its way. */
async function computeFrom(run: Run, opened: Opened): Promise<Filled> {
  const { worker, job, context, claims, cached } = run;
  const { engine, pulse } = worker.deps;
  const drawn = await fill({
    job,
    engine,
    context,
    opened,
    cached,
    chunks: worker.chunks,
    boundaryTokens: worker.settings.boundaryTokens,
    ...(run.draws ? { sample: job.request.sampling, allowed: run.allowed ?? undefined } : {}),
    onChunk: (from, to) => claims.cover(Math.floor(from / engine.info.segmentTokens), Math.floor(to / engine.info.segmentTokens)),
    onLayer: () => {
      pulse.beat();
      claims.renew();
    },
  });
  if (!job.leaving) job.check(); // a job that would leave here is done: others would only run its end again
  await context.settled();
  context.keepBoundary(context.ids.length, await engine.boundary(opened.sequence));
  return drawn;
}
