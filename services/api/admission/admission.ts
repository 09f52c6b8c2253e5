import type { Bus } from "../../shared/bus/contract.ts";
import { expectedOutput } from "../../shared/bus/enqueue.ts";
import type { JobRequest, Lane } from "../../shared/bus/events.ts";
import type { Clock } from "../../shared/runtime/clock.ts";
import { isUnavailable, ServingError } from "../../shared/runtime/errors.ts";
import { Backlog, type Counted, type Load } from "./backlog.ts";
import { type Capacity, Workers } from "./capacity.ts";
import { Making } from "./making.ts";

/** Part of the time until its deadline that a job may be expected to need: estimates err, and the tail is longer than the mean. */
const USABLE = 0.7;
const RETRY_SECONDS_MAX = 600;

export interface AdmissionLimits {
  readonly queueJobsMax: number;
  readonly backlogTokensMax: number;
}

/** What admission asks of a job. */
export type Demand = Pick<JobRequest, "lane" | "maxTokens" | "deadlineMs"> & { readonly promptTokens: number };

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
  async admit(job: Demand, jobs: number, pay: () => void): Promise<readonly Counted[]> {
    const state = await this.#state();
    const idle = this.#backlog.known.jobs === 0; // as long as there are none but these
    const counted: Counted[] = [];
    try {
      while (counted.length < jobs) {
        requireRoom(this.#limits, { ...state, load: this.#backlog.known, idle }, job); // who came at the same time is in it by now
        counted.push(this.#backlog.add({ ...job, outputTokens: expectedOutput(job) }));
      }
      pay();
      return counted;
    } catch (thrown) {
      for (const { forget } of counted) forget();
      throw thrown;
    }
  }

  /** Throws what `admit` would: for jobs of which no more is known than how large they are at least. */
  async require(job: Demand, jobs: number): Promise<void> {
    for (const { forget } of await this.admit(job, jobs, () => {})) forget();
  }

  /** Seconds after which the answer of a job that came now would begin, about; null while nobody knows, or the record is away. */
  async estimate(job: Pick<JobRequest, "lane" | "promptTokens">): Promise<number | null> {
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

  async #state(): Promise<Omit<State, "idle">> {
    const [load, speed, nowMs] = await Promise.all([this.#backlog.load(), this.#speed(), this.#bus.log.nowMs()]);
    return { load, speed, nowMs };
  }

  async #speed(): Promise<Speed> {
    const [prefill, decode] = await Promise.all([this.#workers.capacity("prefill"), this.#workers.capacity("decode")]);
    return { prefill, decode };
  }
}

interface Speed {
  readonly prefill: Capacity;
  readonly decode: Capacity;
}

interface State {
  readonly load: Load;
  /** Nothing waits but what comes with this job. */
  readonly idle: boolean;
  readonly speed: Speed;
  readonly nowMs: number;
}

/** Throws OVERLOADED. A larger job is refused wherever a smaller one is. */
function requireRoom(limits: AdmissionLimits, { load, idle, speed, nowMs }: State, job: Demand): void {
  const { queueJobsMax, backlogTokensMax } = limits;
  const outputTokens = expectedOutput(job);
  const { prompt, output } = waiting(load);
  const tokens = prompt + output;
  if (load.jobs >= queueJobsMax) {
    throw refused(`${queueJobsMax} jobs are waiting already`, tokens / Math.max(1, load.jobs) / Math.max(1, speed.prefill.tokensPerSecond));
  }
  const excess = tokens + job.promptTokens + outputTokens - backlogTokensMax;
  // A job larger than all that may wait gets in when nothing does.
  if (excess > 0 && !idle) {
    throw refused(`${tokens} tokens are waiting already`, Math.min(excess, tokens) / Math.max(1, speed.prefill.tokensPerSecond));
  }
  const excessSeconds = secondsUntilDone(load, speed, { ...job, outputTokens }) - (USABLE * (job.deadlineMs - nowMs)) / 1_000;
  if (excessSeconds <= 0 || idle) return; // where nobody waits it is tried: that shows what the workers can do, and no time to come would be better
  const alone = secondsAlone(speed, { ...job, outputTokens });
  const hopeless = `, nor likely without it: alone it takes about ${Math.ceil(alone)} s at the speed the workers show, so give it more time`; // unless its prompt is cached
  const why = `this deadline cannot be met at the load there is${alone > (job.deadlineMs - nowMs) / 1_000 ? hopeless : ""}`;
  throw refused(why, excessSeconds * overlap(load, speed, job));
}

/** How many times as much prefill has to do, until a long prompt is done, as is counted of it: turns take the same until then. 1 where decode decides. */
function overlap(load: Load, speed: Speed, job: Pick<Demand, "lane" | "promptTokens">): number {
  const ahead = promptsAhead(load, speed.prefill, job);
  const decides = secondsInPrefill(load, speed.prefill, job) >= secondsInDecode(load, speed.decode, job);
  return decides && ahead > 0 ? promptsInLane(load, job.lane) / ahead : 1;
}

/** Prefill and decode work side by side, so the slower of the two decides; then the job's own answer takes its time. Nothing is known without workers. */
function secondsUntilDone(load: Load, speed: Speed, job: Pick<Demand, "lane" | "promptTokens"> & { outputTokens: number }): number {
  return speed.decode.workers === 0 ? 0 : secondsUntilBegun(load, speed, job) + job.outputTokens / speed.decode.tokensPerJobSecond;
}

/** On a cluster with nothing else to do, of which all of the prompt is computed. */
const secondsAlone = ({ prefill, decode }: Speed, job: Pick<Demand, "promptTokens"> & { outputTokens: number }): number =>
  (prefill.workers * job.promptTokens) / prefill.tokensPerSecond + job.outputTokens / decode.tokensPerJobSecond;

function secondsUntilBegun(load: Load, { prefill, decode }: Speed, job: Pick<Demand, "lane" | "promptTokens">): number {
  if (prefill.workers === 0 || decode.workers === 0) return 0;
  return Math.max(secondsInPrefill(load, prefill, job), secondsInDecode(load, decode, job));
}

/** One worker computes the job's own prompt. */
const secondsInPrefill = (load: Load, prefill: Capacity, job: Pick<Demand, "lane" | "promptTokens">): number =>
  (promptsAhead(load, prefill, job) + prefill.workers * job.promptTokens) / prefill.tokensPerSecond;

const secondsInDecode = (load: Load, decode: Capacity, { lane }: Pick<Demand, "lane">): number =>
  (lane === "interactive" ? load.outputTokens.interactive : waiting(load).output) / decode.tokensPerSecond;

/**
 * Tokens of other prompts that are done before a job's own. Interactive work takes turns (architecture, "Turns"): of each other prompt as much is done as
 * of this one and a turn. The first keeps one of two places, and has a chunk computed beside each of theirs and of this one's.
 */
function promptsAhead(
  load: Load,
  { turnTokens, chunkTokens, workers }: Capacity,
  { lane, promptTokens }: Pick<Demand, "lane" | "promptTokens">,
): number {
  const all = promptsInLane(load, lane);
  if (lane === "batch" || !Number.isFinite(turnTokens + chunkTokens)) return all;
  const { interactive } = load.prompts;
  const beside = workers * (promptTokens + chunkTokens) + interactive.count * chunkTokens;
  return Math.min(all, 2 * interactive.tokens(promptTokens + turnTokens) + beside);
}

/** All that a job of `lane` may wait for: interactive work does not wait for batch work. */
const promptsInLane = (load: Load, lane: Lane): number =>
  lane === "interactive" ? load.prompts.interactive.tokens() : waiting(load).prompt;

const waiting = ({ prompts, outputTokens }: Load) => ({
  prompt: prompts.interactive.tokens() + prompts.batch.tokens(),
  output: outputTokens.interactive + outputTokens.batch,
});

function refused(why: string, seconds: number): ServingError {
  const retryAfterSeconds = Math.max(1, Math.min(RETRY_SECONDS_MAX, Math.ceil(seconds)));
  return new ServingError("OVERLOADED", `${why}; try again in ${retryAfterSeconds} s`, {
    apiCode: "rate_limit_exceeded",
    retryAfterSeconds,
  });
}
