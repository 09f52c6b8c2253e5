import type { Registry } from "../bus/contract.ts";
import { type Lane, rank } from "../bus/events.ts";
import { TURN_IS_OVER } from "../bus/reasons.ts";
import type { Clock } from "../runtime/clock.ts";
import type { HeldJob } from "./held-job.ts";
import { Interrupted } from "./interrupted.ts";

/** A nudge may be missed: how often the marks themselves are looked at, and how long after a job came for the first time. */
const LOOK_MS = 1_000;
const FIRST_LOOK_MS = 100;
/** Claims live for seconds: a pulse that comes sooner after the last one tells nobody anything, and a worker may hold many jobs. */
const PULSE_MS = 20;
/** Nudges for jobs that are not here are remembered: the job may be on its way to us. */
const HEARD_MAX = 4_096;

/** Who makes way for work that goes before his own, and why. */
export interface Leaver {
  readonly job: HeldJob;
  readonly reason: Interrupted;
}

/** The jobs a worker holds now, and the one place that hears for all of them of cancels, deadlines and the end of the worker. */
export class Roster {
  /** Each with what takes back its first look. */
  readonly #jobs = new Map<HeldJob, () => void>();
  readonly #heard = new Set<string>();
  readonly #registry: Registry;
  readonly #clock: Clock;
  #pulsedMs = Number.NEGATIVE_INFINITY;

  constructor(registry: Registry, clock: Clock) {
    this.#registry = registry;
    this.#clock = clock;
  }

  /** From now on the job hears of everything. What happened before is looked up: at once after a nudge, else if it is still here in a moment. */
  add(job: HeldJob): void {
    const look = () => void this.#look(job);
    this.#jobs.set(job, this.#clock.after(FIRST_LOOK_MS, look));
    if (this.#heard.has(job.jobId)) look();
  }

  remove(job: HeldJob): void {
    this.#jobs.get(job)?.();
    this.#jobs.delete(job);
  }

  /** The engine finished a layer or a step for somebody: all who wait for it keep their claims. */
  pulse(): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs < this.#pulsedMs + PULSE_MS) return;
    this.#pulsedMs = nowMs;
    for (const job of this.#jobs.keys()) job.pulse();
  }

  /** The worker ends: what the engine computes right now is finished, then every job is handed back. */
  drain(): void {
    for (const job of this.#jobs.keys()) job.handBack(drained());
  }

  /**
   * Who makes way for work of `lane`, and why: of jobs of the lanes behind it the one of the last lane that came last, else of those of its own whose turn is
   * over the one that came last. The first of several keeps its place there: whatever others come, it gets done. Null while nobody may, or somebody is on the
   * way out already. `taken`: slots, of which some may belong to jobs that are being claimed.
   */
  leaver(taken: number, lane: Lane): Leaver | null {
    if ([...this.#jobs.keys()].some(({ leaving }) => leaving)) return null;
    return this.leavers(taken, lane)[0] ?? null;
  }

  /** All who may be put out for work of `lane`, in the order of `leaver`. */
  leavers(taken: number, lane: Lane): readonly Leaver[] {
    const jobs = [...this.#jobs.keys()];
    const behind = jobs
      .filter(({ request }) => rank(request.lane) > rank(lane))
      .reverse()
      .sort((a, b) => rank(b.request.lane) - rank(a.request.lane));
    const over = jobs
      .slice(taken > 1 ? 1 : 0)
      .filter(({ request, turnIsOver }) => request.lane === lane && turnIsOver)
      .reverse();
    return [
      ...behind.map((job) => ({ job, reason: new Interrupted("overtaken", "interactive work goes first") })),
      ...over.map((job) => ({ job, reason: new Interrupted("yielded", TURN_IS_OVER) })),
    ];
  }

  /** Whether interactive work whose turn is over keeps its place all the same, since the store lacks what it did. */
  get stuck(): boolean {
    return [...this.#jobs.keys()].some(({ request, turn, turnIsOver }) => request.lane !== "batch" && turn.over && !turnIsOver);
  }

  /** Listens for cancels until `stop` aborts. Resolves once it listens. */
  async listen(stop: AbortSignal): Promise<void> {
    await this.#registry.onCancel((jobId) => {
      this.#heard.add(jobId);
      if (this.#heard.size > HEARD_MAX) this.#heard.delete(this.#heard.values().next().value!);
      for (const job of this.#jobs.keys()) if (job.jobId === jobId) void this.#look(job);
    }, stop);
  }

  /** Looks at deadlines and cancel marks, for nudges that did not come and for jobs that wait. Rejects when `stop` aborts. */
  async watch(stop: AbortSignal): Promise<never> {
    for (;;) {
      await this.#clock.sleep(LOOK_MS, stop);
      await Promise.all([...this.#jobs.keys()].map((job) => this.#look(job)));
    }
  }

  async #look(job: HeldJob): Promise<void> {
    job.expireIfDue();
    const by = await this.#registry.cancelMark(job.jobId).catch(() => null); // the record is away: the next look is a second off
    if (by !== null) job.interrupt(new Interrupted("cancelled", by));
  }
}

export const drained = (): Interrupted => new Interrupted("drained", "the worker was told to stop");
