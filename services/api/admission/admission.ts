import type { Bus } from "../../shared/bus/contract.ts";
import { expectedOutput, ownerOf } from "../../shared/bus/enqueue.ts";
import type { JobRequest, Lane } from "../../shared/bus/events.ts";
import type { Clock } from "../../shared/runtime/clock.ts";
import type { Config } from "../../shared/runtime/config.ts";
import { isUnavailable, ServingError } from "../../shared/runtime/errors.ts";
import { EVERYBODY } from "../auth.ts";
import { Backlog, type Counted, jobsOf, type Load, type Owned } from "./backlog.ts";
import { Workers } from "./capacity.ts";
import { Making } from "./making.ts";
import { laneOf, tenantsOf } from "./share.ts";
import { overlap, type Prompted, type Speed, secondsAlone, secondsUntilBegun, secondsUntilDone, waiting } from "./times.ts";

/** Part of the time until its deadline that a job may be expected to need: estimates err, and the tail is longer than the mean. */
const USABLE = 0.7;
const RETRY_SECONDS_MAX = 600;

type AdmissionLimits = Pick<Config, "queueJobsMax" | "backlogTokensMax" | "shareMs">;

/** What admission asks of a job. */
export type Demand = Pick<JobRequest, "tenant" | "lane" | "maxTokens" | "deadlineMs"> & { readonly promptTokens: number };

/** A job that is counted, in the lane that it is to wait in. */
export interface Admitted extends Counted {
  readonly lane: Lane;
}

/**
 * The door: lets in what the cluster can finish in time at the speed it shows, and answers OVERLOADED to the rest at once, with the time after
 * which there should be room.
 */
export class Admission {
  /** Those that were let in by a key and are not all in the record. */
  readonly making: Making;
  readonly #bus: Bus;
  readonly #limits: AdmissionLimits;
  readonly #backlog: Backlog;
  readonly #workers: Workers;

  constructor(bus: Bus, clock: Clock, model: string, limits: AdmissionLimits) {
    this.making = new Making(clock);
    this.#bus = bus;
    this.#limits = limits;
    this.#backlog = new Backlog(bus, clock, model);
    this.#workers = new Workers(bus, clock, model);
  }

  /**
   * Counts as many such jobs in the backlog, or none: OVERLOADED. Tell each result what becomes of it. `pay`: asked only where there is room; what it
   * throws keeps all of them out.
   */
  async admit(job: Demand, jobs: number, pay: () => void): Promise<readonly Admitted[]> {
    const state = await this.#state();
    const idle = jobsOf(this.#backlog.known) === 0; // as long as there are none but these
    const admitted: Admitted[] = [];
    const owner = ownerOf(job.tenant);
    try {
      while (admitted.length < jobs) {
        const load = this.#backlog.known; // who came at the same time is in it by now
        const owned = job.tenant === EVERYBODY.tenant ? null : load.owned(owner);
        const lane = laneOf(this.#limits.shareMs, load, state.speed, job.lane, owned);
        requireRoom(this.#limits, { ...state, load, owned, idle }, { ...job, lane }, admitted.length > 0);
        const counted = this.#backlog.add({ lane, promptTokens: job.promptTokens, outputTokens: expectedOutput(job), owner });
        admitted.push({ ...counted, lane });
      }
      pay();
      return admitted;
    } catch (thrown) {
      for (const { forget } of admitted) forget();
      throw thrown;
    }
  }

  /** Throws what `admit` would: for jobs of which no more is known than how large they are at least. */
  async require(job: Demand, jobs: number): Promise<void> {
    for (const { forget } of await this.admit(job, jobs, () => {})) forget();
  }

  /** Seconds after which the answer of a job that came now would begin, about; null while nobody knows, or the record is away. */
  async estimate(job: Prompted): Promise<number | null> {
    try {
      const [load, speed] = await Promise.all([this.#backlog.load(), this.#speed()]);
      return speed.prefill.measured && speed.decode.measured ? secondsUntilBegun(load, speed, job) : null;
    } catch (thrown) {
      if (isUnavailable(thrown)) return null;
      throw thrown;
    }
  }

  /** Tokens of the backlog before and in decode. */
  async backlogTokens(): Promise<{ readonly prompt: number; readonly output: number }> {
    return waiting(await this.#backlog.load());
  }

  async #state(): Promise<Pick<State, "load" | "speed" | "nowMs">> {
    const [load, speed, nowMs] = await Promise.all([this.#backlog.load(), this.#speed(), this.#bus.log.nowMs()]);
    return { load, speed, nowMs };
  }

  async #speed(): Promise<Speed> {
    const [prefill, decode] = await Promise.all([this.#workers.capacity("prefill"), this.#workers.capacity("decode")]);
    return { prefill, decode };
  }
}

interface State {
  readonly load: Load;
  /** What of it is whose the job is; null: EVERYBODY's. */
  readonly owned: Owned | null;
  /** Nothing waits but what comes with this job. */
  readonly idle: boolean;
  readonly speed: Speed;
  readonly nowMs: number;
}

/** Throws OVERLOADED. A larger job is refused wherever a smaller one is. `follows`: it comes with one that is let in, so that only all that is free bounds it. */
function requireRoom(limits: AdmissionLimits, { load, owned, idle, speed, nowMs }: State, job: Demand, follows: boolean): void {
  const outputTokens = expectedOutput(job);
  const { prompt, output } = waiting(load);
  const tokens = prompt + output;
  const secondsOf = (tokens: number) => tokens / Math.max(1, speed.prefill.tokensPerSecond);
  const jobs = jobsOf(load);
  const free = { jobs: limits.queueJobsMax - jobs, tokens: limits.backlogTokensMax - tokens };
  const own = follows ? free : tenantsOf(free, owned);
  const full = (what: string, isFull: boolean) =>
    isFull ? `${what} are waiting already` : "your jobs take as much room as is left for others";
  if (own.jobs < 1) throw refused(full(`${jobs} jobs`, free.jobs < 1), secondsOf(tokens / Math.max(1, jobs)));
  const size = job.promptTokens + outputTokens;
  const excess = size - own.tokens;
  // A job larger than all that may wait gets in when nothing does.
  if (excess > 0 && !idle)
    throw refused(full(`${tokens} tokens`, size > free.tokens), secondsOf(Math.min(own === free ? excess : 2 * excess, tokens))); // of what ends a tenant has half
  const excessSeconds = secondsUntilDone(load, speed, { ...job, outputTokens }) - (USABLE * (job.deadlineMs - nowMs)) / 1_000;
  if (excessSeconds <= 0 || idle) return; // where nobody waits it is tried: that shows what the workers can do, and no time to come would be better
  const alone = secondsAlone(speed, { ...job, outputTokens });
  const hopeless = `; even on an idle cluster it would take about ${Math.ceil(alone)} s: set a longer deadline`; // unless its prompt is cached
  const why = `the deadline cannot be met at the current load${alone > (job.deadlineMs - nowMs) / 1_000 ? hopeless : ""}`;
  throw refused(why, excessSeconds * overlap(load, speed, job));
}

function refused(why: string, seconds: number): ServingError {
  const retryAfterSeconds = Math.max(1, Math.min(RETRY_SECONDS_MAX, Math.ceil(seconds)));
  return new ServingError("OVERLOADED", `${why}; try again in ${retryAfterSeconds} s`, {
    apiCode: "rate_limit_exceeded",
    retryAfterSeconds,
  });
}
