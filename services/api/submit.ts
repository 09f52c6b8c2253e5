import { createHash } from "node:crypto";
import type { Bus } from "../shared/bus/contract.ts";
import { enqueue } from "../shared/bus/enqueue.ts";
import type { JobRequest, Lane, LogRecord } from "../shared/bus/events.ts";
import { isUnavailable, ServingError } from "../shared/runtime/errors.ts";
import type { Admission, Demand } from "./admission/admission.ts";
import type { Place } from "./admission/places.ts";
import type { ApiDeps } from "./deps.ts";
import { keyOfAnother } from "./errors.ts";
import { cancelJob, type Note } from "./jobs/jobs.ts";
import { payloadKey } from "./responses/kept.ts";

/** Prompts above this travel as a payload, not inside the event. */
const INLINE_TOKENS_MAX = 16_384;

export interface Submission {
  readonly tenant: string;
  readonly request: Omit<JobRequest, "prompt" | "promptTokens" | "tenant">;
  readonly ids: Int32Array;
  /** What the view needs beside it, by name; absent: nothing. */
  readonly payloads?: ReadonlyMap<string, Uint8Array>;
  /** Same key, same tenant: the same job. With another body: CONFLICT. */
  readonly idempotencyKey: string | null;
  /** The job's own id, where it follows from what it is for: whoever submits that again finds the job there. */
  readonly jobId?: string;
  /** Digest of the body as it was sent, to tell one body from another. */
  readonly bodyHash: string;
  /** Where its reader is; for jobs that a retry may join. */
  readonly replica?: string;
  /** Lets it in, if it is not there already: OVERLOADED, RATE_LIMITED. Absent: it comes alone, and pays nothing. */
  readonly enter?: (job: Demand) => Promise<Place>;
  /** Waits, where it is not let in, for another request with its key that may put it there in a moment. Absent: there is none. */
  readonly another?: () => Promise<void>;
  /** Hears of a job that may be in the record although its client is told that it failed. */
  readonly abandon?: (jobId: string) => void;
}

/** The job of a submission, and whether this one made it, whoever came with its key before and was refused. */
export interface Submitted {
  readonly jobId: string;
  readonly created: boolean;
  /** Its id is not of this request alone: whoever else came with its key may have been promised the same job. */
  readonly shared: boolean;
  /** That it waits in, where this process put it there. */
  readonly lane?: Lane;
  /** How its log begins, where this process has just written that: for `JobLog.follow`. */
  readonly log?: readonly LogRecord[];
  /** Gives back what it took from the limits of whoever asked: for one that is cancelled before anybody heard of it. */
  readonly giveBack?: () => void;
}

export type SubmitDeps = Pick<ApiDeps, "bus" | "random" | "admission">;

/**
 * Puts a job into the record and into the prefill queue, in this order, and only then returns its id (I1). A queue that does not answer changes
 * nothing: the reconciler sees to the message of a job that is in the record.
 */
export async function submit(deps: SubmitDeps, submission: Submission): Promise<Submitted> {
  const { bus } = deps;
  const { jobId, known } = await jobIdFor(deps, submission);
  const earlier = known ? await bus.log.last(jobId) : null;
  const shared = isShared(submission);
  if (earlier === null) {
    const place = await placeOf(deps, jobId, submission);
    return { jobId, shared, ...(place === null ? { created: false } : await admitted(deps, jobId, submission, place)) };
  }
  // Where the job only waits, whoever put it there may have died before he published its message: one more is harmless.
  if (earlier.event.type === "submitted") await send(bus, jobId, { request: earlier.event.request, follows: earlier.sequence });
  return { jobId, shared, created: false };
}

/** Null: it is there by now, let in and paid for by another request with its key. */
async function placeOf({ admission, bus }: SubmitDeps, jobId: string, submission: Submission): Promise<Place | null> {
  const { request, tenant, ids, enter = async (job) => alone(admission, job), another } = submission;
  try {
    return await enter({ ...request, tenant, promptTokens: ids.length });
  } catch (thrown) {
    if (another === undefined || ServingError.from(thrown).http !== 429) throw thrown;
    await another();
    if ((await bus.log.last(jobId)) === null) throw thrown;
    return null;
  }
}

async function admitted(
  deps: SubmitDeps,
  jobId: string,
  submission: Submission,
  { lane, queued, giveBack }: Place,
): Promise<Omit<Submitted, "jobId" | "shared">> {
  const { bus } = deps;
  let recorded: Recorded | null = null;
  try {
    recorded = await record(deps, jobId, submission, lane);
    if (recorded.log === undefined) giveBack(); // the other has paid
    await send(bus, jobId, recorded);
    return recorded.log === undefined ? { created: false } : { created: true, lane, log: recorded.log, giveBack };
  } catch (error) {
    if (isOverload(error) && (recorded === null || !isShared(submission))) giveBack();
    // Whoever was told 429 will come again: for a job of his own, or for this one.
    const ended = isOverload(error) && !isShared(submission) ? cancelJob(bus, jobId, "the queue is full") : Promise.reject(error);
    await ended.catch(() => submission.abandon?.(jobId));
    throw error;
  } finally {
    queued();
  }
}

async function alone(admission: Admission, job: Demand): Promise<Place> {
  const [admitted] = await admission.admit(job, 1, () => {});
  return { ...admitted!, giveBack: () => {} };
}

/** A job that waits for its first worker; `log`: all there is of it, where this process wrote it. */
interface Recorded {
  readonly request: JobRequest;
  /** Where its `submitted` lies. */
  readonly follows: number | undefined;
  readonly log?: readonly LogRecord[];
}

const send = (bus: Bus, jobId: string, { request, follows, log }: Recorded): Promise<void> =>
  enqueue(bus.queue, "prefill", jobId, request, follows, log).catch((error: unknown) => {
    if (!isUnavailable(error)) throw error;
  });

const isShared = ({ idempotencyKey, jobId }: Submission): boolean => idempotencyKey !== null || jobId !== undefined;

/**
 * Noted before it is submitted, so that no job can be in the log that the reconciler has not heard of. Both at once would save a round trip; but of
 * a process that dies with them under way one may get lost, and a job without note and message is found by nobody before the next audit, a day later.
 */
async function record({ bus }: SubmitDeps, jobId: string, submission: Submission, lane: Lane): Promise<Recorded> {
  const { ids, payloads = new Map(), request, tenant, bodyHash, replica } = submission;
  const shared = isShared(submission);
  const { model, deadlineMs } = request;
  const reader = replica === undefined ? {} : { body: bodyHash, replica };
  const note: Note = { model, promptTokens: ids.length, lane, tenant, deadlineMs, ...reader };
  const prompt = ids.length <= INLINE_TOKENS_MAX ? { ids } : { payload: jobId };
  const beside = new Map([...payloads].map(([name, bytes]) => [payloadKey(jobId, name), bytes]));
  if ("payload" in prompt) beside.set(jobId, new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength));
  for (const [key, bytes] of beside) await bus.payloads.put(key, bytes);
  await bus.registry.noteJob(jobId, JSON.stringify(note));
  const job = { ...request, lane, tenant, prompt, promptTokens: ids.length };
  try {
    const submitted = await bus.log.submit(jobId, job);
    return { request: job, follows: submitted.sequence, log: [submitted] };
  } catch (error) {
    // What is stored under an id that is shared may serve another request.
    if (isOverload(error) && !shared)
      await Promise.all([...[...beside.keys()].map((key) => bus.payloads.delete(key)), bus.registry.forget(jobId)]);
    // Two requests with one id: the other's job came first, and differs from ours in no more than a drawn seed, the lane and the time.
    const joined = shared && error instanceof ServingError && error.code === "CONFLICT";
    if (!joined) throw error;
    const first = await bus.log.first(jobId);
    const theirs = first?.event.type === "submitted" ? first.event.request : job;
    if (theirs.lane !== lane) await bus.registry.noteJob(jobId, JSON.stringify({ ...note, lane: theirs.lane }));
    return { request: theirs, follows: first?.sequence };
  }
}

const isOverload = (error: unknown): boolean => error instanceof ServingError && error.code === "OVERLOADED";

/** Under which name the record knows a tenant's Idempotency-Key. */
export const rememberedAs = (tenant: string, idempotencyKey: string): string =>
  createHash("sha256")
    .update(JSON.stringify([tenant, idempotencyKey]))
    .digest("base64url");

/** Whether a job that was asked for under this key is in the record. */
export async function isThere({ log, registry }: Pick<Bus, "log" | "registry">, rememberedAs: string): Promise<boolean> {
  const earlier = await registry.recall(rememberedAs);
  return earlier !== null && (await log.last(remembered(earlier).jobId)) !== null;
}

const remembered = (text: string) => JSON.parse(text) as { readonly jobId: string; readonly bodyHash: string };

async function jobIdFor(
  { bus, random }: SubmitDeps,
  { tenant, idempotencyKey, jobId: own, bodyHash }: Submission,
): Promise<{ jobId: string; known: boolean }> {
  if (own !== undefined) return { jobId: own, known: true };
  const jobId = random.id("job_");
  if (idempotencyKey === null) return { jobId, known: false };
  const earlier = await bus.registry.remember(rememberedAs(tenant, idempotencyKey), JSON.stringify({ jobId, bodyHash }));
  if (earlier === null) return { jobId, known: false };
  const found = remembered(earlier);
  if (found.bodyHash !== bodyHash) throw keyOfAnother();
  return { jobId: found.jobId, known: true };
}
