import type { Bus } from "../../shared/bus/contract.ts";
import { enqueue } from "../../shared/bus/enqueue.ts";
import { isTerminal, type JobEvent, type LogRecord, type StoredRecord } from "../../shared/bus/events.ts";
import { holds, quietMs } from "../../shared/bus/standing.ts";
import { atMost } from "../../shared/runtime/at-most.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import type { Logger } from "../../shared/runtime/log.ts";
import type { Metrics } from "../../shared/runtime/metrics.ts";
import { endOf, endText, isTold } from "../jobs/job-end.ts";
import { cancelJob, endJob, type Failure, hasEnded, requestOf } from "../jobs/jobs.ts";
import { type Places, StuckMessages, withMessage } from "./messages.ts";
import { type Open, OpenJobs } from "./open-jobs.ts";
import { Orphans } from "./orphans.ts";
import { Retention } from "./retention.ts";

/** Jobs looked at in one pass, and of these at once: bounds what a pass asks of the record. */
const LOOKS_MAX = 1_000;
const LOOKS_AT_ONCE = 32;
/** A job is noted before it is submitted: a note without a log waits this long for its job, and once more. */
const UNBORN_MS = 60_000;

export interface ReconcilerDeps {
  readonly bus: Bus;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** As long as a claim without an event lives. */
  readonly claimMs: number;
  /** A job whose last reader left is cancelled after this, and whoever shows himself does so as often as `beatMs`. */
  readonly graceMs: number;
  readonly beatMs: number;
  /** How long an ended job is kept. */
  readonly retentionMs: number;
  /** Ends of jobs are written down for webhooks. */
  readonly webhooks?: boolean;
  /** Called now and then in work that takes longer than a pass. */
  readonly alive?: () => Promise<void>;
}

/**
 * Sees to it that every job that has not ended has a message that workers get and no other job has one, that deadlines and cancel marks hold where nobody holds the job, that
 * nothing runs for readers whose replica is gone and who did not come back, and that ended jobs go after their retention. All it does is done by compare-and-set, or harmless when done twice: several may run at once.
 */
export class Reconciler {
  readonly #deps: ReconcilerDeps;
  #jobs: OpenJobs;
  readonly #orphans: Orphans;
  readonly #retention: Retention;
  readonly #reconciled: ReturnType<Metrics["counter"]>;
  readonly #stuck: StuckMessages;
  #noRoom: ServingError | null = null;

  private constructor(deps: ReconcilerDeps, jobs: OpenJobs) {
    this.#deps = deps;
    this.#jobs = jobs;
    this.#reconciled = reconciledJobs(deps.metrics);
    this.#stuck = new StuckMessages(deps.bus, deps.claimMs);
    this.#orphans = new Orphans(deps.bus, deps.graceMs, deps.beatMs);
    this.#retention = new Retention(deps.bus, deps.retentionMs, (jobId) => this.#jobs.has(jobId));
  }

  /** Goes on where another stopped, or, where none did, like `audit`. */
  static async open(deps: ReconcilerDeps): Promise<Reconciler> {
    const jobs = await OpenJobs.resume(deps.bus);
    return jobs === null ? Reconciler.audit(deps) : new Reconciler(deps, jobs);
  }

  /** Learns which jobs are open from the log alone. */
  static async audit(deps: ReconcilerDeps): Promise<Reconciler> {
    return new Reconciler(deps, await audited(deps, null));
  }

  /** Learns it anew, and sees to what was known to be open. */
  async audit(): Promise<void> {
    this.#jobs = await audited(this.#deps, this.#jobs);
  }

  /** What the last pass had to leave for want of room in the record. */
  get noRoom(): ServingError | null {
    return this.#noRoom;
  }

  /** One look at all open jobs: a bounded number of requests however many wait. Resolves to whether more is to be done at once. */
  async pass(): Promise<boolean> {
    const { bus } = this.#deps;
    const nowMs = await bus.log.nowMs(Number.POSITIVE_INFINITY); // who is quiet is said of many: by no clock of before it was set back
    if (!(await this.#jobs.hear(bus))) {
      await bus.registry.raiseLowWater(0); // it means nothing any more
      await this.audit(); // whatever took the end of the index may have taken that of the log
    }
    const live = await withMessage(bus);
    const suspects = this.#jobs.suspects(live, nowMs, LOOKS_MAX);
    this.#noRoom = null;
    await atMost(LOOKS_AT_ONCE, suspects, (job) => this.#unlessFull(() => this.#look(job, live.get(job.jobId) ?? none, nowMs)));
    const strays = [...live.keys()].filter((jobId) => !this.#jobs.has(jobId)).slice(0, LOOKS_MAX);
    await atMost(LOOKS_AT_ONCE, strays, (jobId) => this.#sweep(jobId));
    await atMost(LOOKS_AT_ONCE, await this.#orphans.pass(this.#jobs, nowMs), (job) => this.#unlessFull(() => this.#cancel(job)));
    const renewed = await this.#stuck.renew(nowMs);
    if (renewed > 0) this.#reconciled.inc({ reason: "message not given" }, renewed);
    await this.#jobs.learn(bus);
    await this.#unlessFull(() => this.#jobs.mark(bus));
    return (await this.#retention.pass(nowMs)) || (suspects.length === LOOKS_MAX && this.#noRoom === null); // others would not fare better at once
  }

  /** A job that no event or message can be written of is met again by the next pass. Retention, which makes room, must not wait for it. */
  async #unlessFull(look: () => Promise<void>): Promise<void> {
    try {
      await look();
    } catch (thrown) {
      const error = ServingError.from(thrown);
      if (error.code !== "OVERLOADED") throw thrown;
      this.#noRoom = error;
    }
  }

  async #look(job: Open, places: Places, nowMs: number): Promise<void> {
    const { bus, claimMs } = this.#deps;
    const stored = await bus.log.lastStored(job.jobId);
    if (stored === null) return this.#missed(job, nowMs);
    const last = stored.record;
    if (last !== null && isTerminal(last.event)) return this.#ended(last, stored.storedMs); // its messages are strays now
    const hereMs = stored.storedMs > nowMs ? await bus.log.nowMs(stored.storedMs) : nowMs; // written since the pass began, or the clock was set back
    const silenceMs = quietMs(stored.storedMs, hereMs);
    const quiet = silenceMs >= claimMs;
    if ((last === null || holds(last.event)) && !quiet) return;
    if (job.cancelledBy !== null) return this.#end(stored, { type: "cancelled", by: job.cancelledBy });
    if (await this.#isLate(job, nowMs)) return this.#end(stored, last === null ? unreadable(stored) : { type: "expired" });
    if (last === null) return;
    const place = places.get(last.phase);
    if (place === undefined && quiet) await this.#putBack(last);
    if (place !== undefined) this.#stuck.look(last, place, silenceMs);
  }

  /** It was not submitted yet, or is gone. Waited for twice: a record's clock that is set forward makes one wait look long, and nobody would hear of the job again. */
  #missed(job: Open, nowMs: number): void {
    if (quietMs(job.sinceMs, nowMs) <= UNBORN_MS) return;
    job.missingMs ??= nowMs;
    if (quietMs(job.missingMs, nowMs) > UNBORN_MS) this.#jobs.drop(job.jobId);
  }

  async #cancel({ jobId }: Open): Promise<void> {
    if (await cancelJob(this.#deps.bus, jobId, "its last reader left")) this.#reconciled.inc({ reason: "no reader" });
  }

  /** What is known is the note's deadline, and that may be of an earlier try to submit the job: the log decides. */
  async #isLate(job: Open, nowMs: number): Promise<boolean> {
    if (job.deadlineMs === null || nowMs < job.deadlineMs) return false;
    job.deadlineMs = (await requestOf(this.#deps.bus.log, job.jobId))?.deadlineMs ?? job.deadlineMs;
    return nowMs >= job.deadlineMs;
  }

  /** A killed nats-server may keep messages that were acked: no worker is given them, and they would count as backlog until the log forgets them. */
  async #sweep(jobId: string): Promise<void> {
    const { log, queue } = this.#deps.bus;
    const last = await log.lastStored(jobId);
    if (last !== null && !hasEnded(last)) return; // it came after the notes were read, or cannot be read
    await Promise.all([queue.withdraw("prefill", jobId), queue.withdraw("decode", jobId)]);
  }

  /** The one place where every end is seen, some twice: those that failed are logged, because their tenants are not told everything, and kept where they can be listed, those to be told where webhooks find them. */
  async #ended(last: LogRecord, endedMs: number): Promise<void> {
    const { jobId, event, attempt, epoch } = last;
    const { bus, log, webhooks = false } = this.#deps;
    const request = event.type === "failed" || webhooks ? await requestOf(bus.log, jobId) : null;
    if (event.type === "failed" && request !== null) {
      const { model, tenant } = request;
      const failure: Failure = { model, tenant, code: event.code, message: event.message, attempt, claims: epoch };
      log.warn({ jobId, ...failure }, "a job failed");
      await bus.registry.noteFailure(jobId, JSON.stringify(failure));
    }
    if (webhooks && request !== null && isTold(request))
      await bus.documents.put("event", request.tenant, jobId, endText(endOf(last, request, endedMs)), 0);
    this.#jobs.drop(jobId);
  }

  /** Met again by the next pass, which sees its end. */
  async #end(stored: StoredRecord, event: JobEvent): Promise<void> {
    if (!(await endJob(this.#deps.bus, stored.record ?? stored, event))) return;
    this.#reconciled.inc({ reason: event.type });
  }

  /** Nothing happened for as long as a claim lives, and no message was there after that: whoever should have sent it is gone. */
  async #putBack(last: LogRecord): Promise<void> {
    const { bus } = this.#deps;
    const request = await requestOf(bus.log, last.jobId);
    if (request === null) return;
    await enqueue(bus.queue, last.phase, last.jobId, request);
    this.#reconciled.inc({ reason: "no message" });
  }
}

const audited = ({ bus, alive = async () => {} }: ReconcilerDeps, before: OpenJobs | null): Promise<OpenJobs> =>
  OpenJobs.audit(bus, UNBORN_MS, alive, before);

/** The end of a job that nobody could go on with: by now whoever can read its last event would have ended it. */
const unreadable = ({ jobId, sequence }: StoredRecord): JobEvent => ({
  type: "failed",
  code: "DAMAGED",
  message: `event ${sequence} of ${jobId} could not be read before the deadline`,
});

/** A replica that does not reconcile shows it too. */
export const reconciledJobs = (metrics: Metrics): ReturnType<Metrics["counter"]> =>
  metrics.counter("longshore_reconciled_jobs_total", "Jobs put back or ended because nobody held them, by reason.", ["reason"]);

const none: Places = new Map();
