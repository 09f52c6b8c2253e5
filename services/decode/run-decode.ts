import type { Tokens } from "../shared/bus/events.ts";
import type { Opened, SequenceId } from "../shared/engine/engine.ts";
import { always } from "../shared/worker/chunk-size.ts";
import type { Context, contextFactory, Found } from "../shared/worker/context.ts";
import type { WorkerDeps, WorkerSettings } from "../shared/worker/deps.ts";
import { fill } from "../shared/worker/fill.ts";
import type { HeldJob } from "../shared/worker/held-job.ts";
import { firstCached, loggedTokens } from "../shared/worker/history.ts";
import { promptOf } from "../shared/worker/prompt.ts";
import { finish, passOn } from "../shared/worker/settle.ts";
import { Answer, type End, type WatchText } from "./answer.ts";
import { generate } from "./generation.ts";
import type { RunningBatch } from "./running-batch.ts";
import { type Flushing, TokenWriter } from "./token-writer.ts";

export type DecodeSettings = WorkerSettings & Flushing;

export interface DecodeWorker {
  readonly deps: WorkerDeps;
  readonly settings: DecodeSettings;
  readonly contextOf: ReturnType<typeof contextFactory>;
  readonly watchText: WatchText;
  readonly batch: RunningBatch;
}

/**
 * Tokens of an answer for which room is taken when it begins; beyond them it goes on while there is room. Many requests
 * allow the whole context and need little of it.
 */
const EXPECTED_TOKENS = 4_096;
/**
 * The most missing segments that a decode worker computes itself: as many as a worker that died may have been storing.
 */
const MISSING_MAX = 4;
/** Tokens fed together while a sequence is brought up to date: few, because the running batch waits for them. */
const CATCH_UP_TOKENS = 128;

/**
 * Continues the answer after what is in the log, wherever that ends: one token after prefill, many after a takeover.
 * Logged ids are fed as input and never drawn again.
 */
export async function runDecode(worker: DecodeWorker, job: HeldJob): Promise<void> {
  const { bus, engine } = worker.deps;
  const prompt = await promptOf(bus.payloads, job.request, engine.info);
  const logged = loggedTokens(job.history);
  const answer = new Answer(job.request, engine.info.contextTokens, worker.watchText);
  let end: End | null = null;
  for (const id of logged) end ??= answer.take(id);
  const cached = firstCached(job.history) ?? 0;
  if (end !== null) return finish(job, { type: "finished", reason: end, usage: answer.usage(cached) });

  const context = worker.contextOf(job, prompt, logged, Math.min(job.request.maxTokens, engine.info.contextTokens - prompt.length));
  const tokens = context.ids.length;
  try {
    await context.enter(tokens + Math.min(job.request.maxTokens - logged.length + 1, EXPECTED_TOKENS));
    const whole = Math.floor(tokens / engine.info.segmentTokens); // all are expected: counting them first would be a round trip for nothing
    const found = await context.find(tokens, whole, job.request.stopIds);
    const missing = Math.floor((tokens - found.storedTokens) / engine.info.segmentTokens);
    if (missing > MISSING_MAX && !wasSentBackInVain(job)) {
      return await passOn(bus, job, "prefill", { type: "sent_back", reason: `${missing} segments are gone from the store` });
    }
    const ended = await continueAnswer({ worker, job, context, found, cached, answer });
    await finish(job, { type: "finished", ...ended, usage: answer.usage(cached) });
  } finally {
    await context.settled();
    context.release();
  }
}

/**
 * Whether the store lost the segments again before they gave a single token. This worker then computes them itself, so
 * that the job does not go round for ever.
 */
const wasSentBackInVain = (job: HeldJob): boolean =>
  job.history.findLast(({ event }) => event.type === "sent_back" || event.type === "tokens")?.event.type === "sent_back";

interface Run {
  readonly worker: DecodeWorker;
  readonly job: HeldJob;
  readonly context: Context;
  readonly found: Found;
  readonly cached: number;
  readonly answer: Answer;
}

/** How the answer ended, and its tokens that are not in the log yet. */
interface Ended {
  readonly reason: End;
  readonly tokens?: Tokens;
}

async function continueAnswer(run: Run): Promise<Ended> {
  const { engine } = run.worker.deps;
  const { segments, boundary } = run.found;
  const opened = await engine.open({ segments: segments.map(({ memory }) => memory), boundary });
  try {
    await catchUp(run, opened);
    return await generateAndKeep(run, opened.sequence);
  } finally {
    await engine.close(opened.sequence);
  }
}

async function catchUp({ worker, job, context, cached }: Run, opened: Opened): Promise<void> {
  const { engine, pulse } = worker.deps;
  await fill({
    job,
    engine,
    context,
    opened,
    cached,
    chunks: always(Math.min(CATCH_UP_TOKENS, engine.info.chunkTokens)),
    boundaryTokens: worker.settings.boundaryTokens,
    onLayer: () => pulse.beat(),
  });
}

/**
 * However the generation ends, its tokens get into the log and its boundary into the store: the next turn, or a
 * successor, starts warm.
 */
async function generateAndKeep({ worker, job, context, answer }: Run, sequence: SequenceId): Promise<Ended> {
  const { engine, clock, grammars } = worker.deps;
  const writer = new TokenWriter(job, clock, worker.settings, answer.ids.length, () => worker.batch.wake());
  try {
    const { constraint } = job.request;
    const following = constraint === undefined ? null : grammars.follow(constraint);
    const reason = await generate({ job, sequence, context, answer, writer, following, draftMax: engine.info.draftMax }, worker.batch);
    return { reason, ...(await writer.finish()) };
  } catch (thrown) {
    await writer.close();
    throw thrown;
  } finally {
    const boundary = job.claim.lost ? null : await engine.boundary(sequence).catch(() => null); // a failed step lost the sequence, too
    if (boundary !== null) context.keepBoundary(context.ids.length, boundary);
  }
}
