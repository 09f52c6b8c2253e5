import type { Registry } from "../bus/contract.ts";
import type { Clock } from "../runtime/clock.ts";
import type { HeldJob } from "./held-job.ts";
import { Interrupted } from "./interrupted.ts";

/** A nudge may be missed: how often the marks themselves are looked at. */
const LOOK_MS = 1_000;

/** The jobs a worker holds now, and the one place that hears for all of them of cancels, deadlines and the end of the worker. */
export class Roster {
  readonly #jobs = new Set<HeldJob>();
  readonly #registry: Registry;
  readonly #clock: Clock;

  constructor(registry: Registry, clock: Clock) {
    this.#registry = registry;
    this.#clock = clock;
  }

  get size(): number {
    return this.#jobs.size;
  }

  get holdsBatchJobs(): boolean {
    return [...this.#jobs].some(({ request }) => request.lane === "batch");
  }

  /** From now on the job hears of everything; what happened before is looked up while it begins. */
  add(job: HeldJob): void {
    this.#jobs.add(job);
    void this.#look(job);
  }

  remove(job: HeldJob): void {
    this.#jobs.delete(job);
  }

  /** The engine finished a layer or a step for somebody: all who wait for it keep their claims. */
  pulse(): void {
    for (const job of this.#jobs) job.pulse();
  }

  /** The worker ends: what the engine computes right now is finished, then every job is handed back. */
  drain(): void {
    for (const job of this.#jobs) job.handBack(drained());
  }

  /** Makes room for interactive work: the batch job that came last is handed back, unless one is on its way out already. */
  makeWay(): void {
    const jobs = [...this.#jobs];
    if (jobs.some(({ leaving }) => leaving)) return;
    jobs.findLast(({ request }) => request.lane === "batch")?.handBack(new Interrupted("overtaken", "interactive work goes first"));
  }

  /** Listens for cancels until `stop` aborts. Resolves once it listens. */
  async listen(stop: AbortSignal): Promise<void> {
    await this.#registry.onCancel((jobId) => {
      for (const job of this.#jobs) if (job.jobId === jobId) void this.#look(job);
    }, stop);
  }

  /** Looks at deadlines and cancel marks, for nudges that did not come and for jobs that wait. Rejects when `stop` aborts. */
  async watch(stop: AbortSignal): Promise<never> {
    for (;;) {
      await this.#clock.sleep(LOOK_MS, stop);
      await Promise.all([...this.#jobs].map((job) => this.#look(job)));
    }
  }

  async #look(job: HeldJob): Promise<void> {
    job.expireIfDue();
    const by = await this.#registry.cancelMark(job.jobId).catch(() => null); // the record is away: the next look is a second off
    if (by !== null) job.interrupt(new Interrupted("cancelled", by));
  }
}

export const drained = (): Interrupted => new Interrupted("drained", "the worker was told to stop");
