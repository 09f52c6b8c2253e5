import type { Registry } from "../bus/contract.ts";
import { type Lane, rank } from "../bus/events.ts";
import { TURN_IS_OVER } from "../bus/reasons.ts";
import type { Clock } from "../runtime/clock.ts";
import type { HeldJob } from "./held-job.ts";
import { Interrupted } from "./interrupted.ts";

/** A nudge may be lost, so cancel marks are read this often, and for the first time this long after a job arrived. */
const LOOK_MS = 1_000;
const FIRST_LOOK_MS = 100;
/**
 * Shortest time between two pulses. Claims live for seconds, so a sooner pulse would tell nothing, and a worker may
 * hold many jobs.
 */
const PULSE_MS = 20;
/** Nudges remembered for jobs that are not here: such a job may be on its way to us. */
const HEARD_MAX = 4_096;

/** A job that makes way for work that goes first, and why. */
export interface Leaver {
  readonly job: HeldJob;
  readonly reason: Interrupted;
}

/**
 * The jobs a worker holds now, and the one place that learns of cancels, deadlines and the worker's end for all of
 * them.
 */
export class Roster {
  /** Each job with the function that cancels its first look. */
  readonly #jobs = new Map<HeldJob, () => void>();
  readonly #heard = new Set<string>();
  readonly #registry: Registry;
  readonly #clock: Clock;
  #pulsedMs = Number.NEGATIVE_INFINITY;

  constructor(registry: Registry, clock: Clock) {
    this.#registry = registry;
    this.#clock = clock;
  }

  /**
   * From now on the job learns of everything. Its cancel mark is read at once if a nudge came before, else in a moment
   * if it is still here.
   */
  add(job: HeldJob): void {
    const look = () => void this.#look(job);
    this.#jobs.set(job, this.#clock.after(FIRST_LOOK_MS, look));
    if (this.#heard.has(job.jobId)) look();
  }

  remove(job: HeldJob): void {
    this.#jobs.get(job)?.();
    this.#jobs.delete(job);
  }

  /** The engine finished a layer or a step for some job: all jobs that wait for it keep their claims. */
  pulse(): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs < this.#pulsedMs + PULSE_MS) return;
    this.#pulsedMs = nowMs;
    for (const job of this.#jobs.keys()) job.pulse();
  }

  /** The worker ends: the engine finishes what it is computing, then every job is handed back. */
  drain(): void {
    for (const job of this.#jobs.keys()) job.handBack(drained());
  }

  /**
   * The job that makes way for work of `lane`, and why: of the jobs of lanes behind it, the latest of the last lane;
   * else, of those of its own lane whose turn is over, the latest. The first of several jobs is not put out by its own
   * lane, so that it gets done whatever else comes. Null while no job may leave, or one is already leaving. `taken`:
   * occupied slots, some of which may belong to jobs that are being claimed.
   */
  leaver(taken: number, lane: Lane): Leaver | null {
    if ([...this.#jobs.keys()].some(({ leaving }) => leaving)) return null;
    return this.leavers(taken, lane)[0] ?? null;
  }

  /** All jobs that may be put out for work of `lane`, in the order of `leaver`. */
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

  /** Whether an interactive job whose turn is over keeps its place because its work is not stored. */
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

  /** Checks deadlines and cancel marks, for lost nudges and for jobs that wait. Rejects when `stop` aborts. */
  async watch(stop: AbortSignal): Promise<never> {
    for (;;) {
      await this.#clock.sleep(LOOK_MS, stop);
      await Promise.all([...this.#jobs.keys()].map((job) => this.#look(job)));
    }
  }

  async #look(job: HeldJob): Promise<void> {
    job.expireIfDue();
    const by = await this.#registry.cancelMark(job.jobId).catch(() => null); // the record is away: the next look is a second later
    if (by !== null) job.interrupt(new Interrupted("cancelled", by));
  }
}

export const drained = (): Interrupted => new Interrupted("drained", "the worker was told to stop");
