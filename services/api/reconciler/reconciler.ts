import type { Bus, LogRecord, Phase, StoredRecord } from "../../shared/bus/contract.ts";
import { isTerminal } from "../../shared/bus/contract.ts";
import { enqueue } from "../../shared/bus/enqueue.ts";
import { holds } from "../../shared/bus/standing.ts";
import type { Metrics } from "../../shared/runtime/metrics.ts";
import { endJob, type Failure } from "../jobs.ts";
import { atMost } from "./at-most.ts";
import { type Open, OpenJobs } from "./open-jobs.ts";
import { Retention } from "./retention.ts";

/** Jobs looked at in one pass, and of these at once: bounds what a pass asks of the record. */
const LOOKS_MAX = 1_000;
const LOOKS_AT_ONCE = 32;
/** A job is noted before it is submitted: a note without a log waits this long for its job. */
const UNBORN_MS = 60_000;

export interface ReconcilerDeps {
  readonly bus: Bus;
  readonly metrics: Metrics;
  /** As long as a claim without an event lives. */
  readonly claimMs: number;
  /** How long an ended job is kept. */
  readonly retentionMs: number;
}

/**
 * Sees to it that every job that has not ended has a message and no other job has, that deadlines and cancel marks hold where nobody holds the job, and that
 * ended jobs go after their retention. All it does is done by compare-and-set, or harmless when done twice: several may run at once.
 */
export class Reconciler {
  readonly #deps: ReconcilerDeps;
  readonly #jobs: OpenJobs;
  readonly #retention: Retention;
  readonly #reconciled: ReturnType<Metrics["counter"]>;

  private constructor(deps: ReconcilerDeps, jobs: OpenJobs) {
    this.#deps = deps;
    this.#jobs = jobs;
    this.#reconciled = reconciledJobs(deps.metrics);
    this.#retention = new Retention(deps.bus, deps.retentionMs, (jobId) => jobs.has(jobId));
  }

  /** Goes on where another stopped, or, where none did, like `audit`. */
  static async open(deps: ReconcilerDeps): Promise<Reconciler> {
    const jobs = await OpenJobs.resume(deps.bus);
    return jobs === null ? Reconciler.audit(deps) : new Reconciler(deps, jobs);
  }

  /** Learns which jobs are open from the log alone. */
  static async audit(deps: ReconcilerDeps): Promise<Reconciler> {
    return new Reconciler(deps, await OpenJobs.audit(deps.bus, UNBORN_MS));
  }

  /** One look at all open jobs: a bounded number of requests however many wait. Resolves to whether more is to be done at once. */
  async pass(): Promise<boolean> {
    const { bus } = this.#deps;
    const nowMs = await bus.log.nowMs();
    await this.#jobs.hear(bus);
    const live = await withMessage(bus);
    const suspects = this.#jobs.suspects(live, nowMs, LOOKS_MAX);
    await atMost(LOOKS_AT_ONCE, suspects, (job) => this.#look(job, live.get(job.jobId) ?? none, nowMs));
    const strays = [...live.keys()].filter((jobId) => !this.#jobs.has(jobId)).slice(0, LOOKS_MAX);
    await atMost(LOOKS_AT_ONCE, strays, (jobId) => this.#sweep(jobId));
    await this.#jobs.learn(bus);
    await this.#jobs.mark(bus);
    return (await this.#retention.pass(nowMs)) || suspects.length === LOOKS_MAX;
  }

  async #look(job: Open, phases: Phases, nowMs: number): Promise<void> {
    const { bus, claimMs } = this.#deps;
    const stored = await bus.log.lastStored(job.jobId);
    if (stored === null) return nowMs - job.sinceMs > UNBORN_MS ? this.#jobs.drop(job.jobId) : undefined;
    if (isTerminal(stored.record.event)) return this.#ended(stored.record); // its messages are strays now
    const quiet = nowMs - stored.storedMs >= claimMs;
    if (holds(stored.record.event) && !quiet) return;
    if (job.cancelledBy !== null) return this.#end(stored, "cancelled", job);
    if (await this.#isLate(job, nowMs)) return this.#end(stored, "expired", job);
    if (!phases.has(stored.record.phase) && quiet) await this.#putBack(stored.record);
  }

  /** What is known is the note's deadline, and that may be of an earlier try to submit the job: the log decides. */
  async #isLate(job: Open, nowMs: number): Promise<boolean> {
    if (job.deadlineMs === null || nowMs < job.deadlineMs) return false;
    const event = (await this.#deps.bus.log.first(job.jobId))?.event;
    if (event?.type === "submitted") job.deadlineMs = event.request.deadlineMs;
    return nowMs >= job.deadlineMs;
  }

  /** A killed nats-server may keep messages that were acked: no worker is given them, and they would count as backlog until the log forgets them. */
  async #sweep(jobId: string): Promise<void> {
    const { log, queue } = this.#deps.bus;
    const last = await log.last(jobId);
    if (last !== null && !isTerminal(last.event)) return; // it came after the notes were read
    await Promise.all([queue.withdraw("prefill", jobId), queue.withdraw("decode", jobId)]);
  }

  /** The one place where every end is seen: those that failed are kept where they can be listed. */
  async #ended({ jobId, event, attempt, epoch }: LogRecord): Promise<void> {
    const first = event.type === "failed" ? (await this.#deps.bus.log.first(jobId))?.event : undefined;
    if (event.type === "failed" && first?.type === "submitted") {
      const { model, tenant } = first.request;
      const failure: Failure = { model, tenant, code: event.code, message: event.message, attempt, claims: epoch };
      await this.#deps.bus.registry.noteFailure(jobId, JSON.stringify(failure));
    }
    this.#jobs.drop(jobId);
  }

  async #end({ record }: StoredRecord, type: "cancelled" | "expired", { cancelledBy }: Open): Promise<void> {
    const event = type === "cancelled" ? { type, by: cancelledBy ?? "" } : { type };
    if (!(await endJob(this.#deps.bus, record, event))) return;
    this.#jobs.drop(record.jobId);
    this.#reconciled.inc({ reason: type });
  }

  /** Nothing happened for as long as a claim lives, and no message was there after that: whoever should have sent it is gone. */
  async #putBack(last: LogRecord): Promise<void> {
    const { bus } = this.#deps;
    const first = await bus.log.first(last.jobId);
    if (first?.event.type !== "submitted") return;
    await enqueue(bus.queue, last.phase, last.jobId, first.event.request);
    this.#reconciled.inc({ reason: "no message" });
  }
}

/** A replica that does not reconcile shows it too. */
export const reconciledJobs = (metrics: Metrics): ReturnType<Metrics["counter"]> =>
  metrics.counter("longshore_reconciled_jobs_total", "Jobs put back or ended because nobody held them, by reason.", ["reason"]);

/** Phases that a job has a message in. */
type Phases = ReadonlySet<Phase>;
const none: Phases = new Set();

/** Prefill first: a job that moves on meanwhile gets its decode message before it loses this one. */
async function withMessage({ queue }: Bus): Promise<ReadonlyMap<string, Phases>> {
  const found = new Map<string, Set<Phase>>();
  for (const phase of ["prefill", "decode"] as const)
    for (const { jobId } of await queue.messages(phase)) found.set(jobId, (found.get(jobId) ?? new Set()).add(phase));
  return found;
}
