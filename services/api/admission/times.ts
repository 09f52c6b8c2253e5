import { type JobRequest, LANES, type Lane, rank } from "../../shared/bus/events.ts";
import type { Load } from "./backlog.ts";
import type { Capacity } from "./capacity.ts";

/** What the workers of both phases can do. */
export interface Speed {
  readonly prefill: Capacity;
  readonly decode: Capacity;
}

/** What decides how long a job waits. */
export type Prompted = Pick<JobRequest, "lane" | "promptTokens">;
type Answered = Prompted & { readonly outputTokens: number };

/** Prefill and decode work side by side, so the slower of the two decides; then the job's own answer takes its time. Nothing is known without workers. */
export function secondsUntilDone(load: Load, speed: Speed, job: Answered): number {
  return speed.decode.workers === 0 ? 0 : secondsUntilBegun(load, speed, job) + job.outputTokens / speed.decode.tokensPerJobSecond;
}

export function secondsUntilBegun(load: Load, { prefill, decode }: Speed, job: Prompted): number {
  if (prefill.workers === 0 || decode.workers === 0) return 0;
  return Math.max(secondsInPrefill(load, prefill, job), secondsInDecode(load, decode, job));
}

/** On a cluster with nothing else to do, of which all of the prompt is computed. */
export const secondsAlone = ({ prefill, decode }: Speed, job: Answered): number =>
  (prefill.workers * job.promptTokens) / prefill.tokensPerSecond + job.outputTokens / decode.tokensPerJobSecond;

/** How many times as much prefill has to do, until a long prompt is done, as is counted of it: turns take the same until then. 1 where decode decides. */
export function overlap(load: Load, speed: Speed, job: Prompted): number {
  const ahead = promptsAhead(load, speed.prefill, job);
  const decides = secondsInPrefill(load, speed.prefill, job) >= secondsInDecode(load, speed.decode, job);
  return decides && ahead > 0 ? promptsUpTo(load, job.lane) / ahead : 1;
}

/** Tokens that wait or are under way, in all lanes. */
export const waiting = ({ prompts, outputTokens }: Load) => ({
  prompt: sum(LANES.map((lane) => prompts[lane].tokens())),
  output: sum(LANES.map((lane) => outputTokens[lane])),
});

/** One worker computes the job's own prompt, and between its chunks those of a prompt of a lane behind that keeps the place beside it. */
const secondsInPrefill = (load: Load, prefill: Capacity, job: Prompted): number => {
  const own = prefill.workers * job.promptTokens;
  const behind = sum(LANES.slice(rank(job.lane) + 1).map((each) => load.prompts[each].tokens()));
  return (promptsAhead(load, prefill, job) + own + Math.min(behind, own)) / prefill.tokensPerSecond;
};

const secondsInDecode = ({ outputTokens }: Load, decode: Capacity, { lane }: Prompted): number =>
  sum(upTo(lane).map((each) => outputTokens[each])) / decode.tokensPerSecond;

/**
 * Tokens of other prompts that are done before a job's own. Work that is no batch's takes turns (architecture, "Turns"): of each other prompt as much is done
 * as of this one and a turn. The first keeps one of two places, and has a chunk computed beside each of theirs and of this one's.
 */
function promptsAhead(load: Load, { turnTokens, chunkTokens, workers }: Capacity, { lane, promptTokens }: Prompted): number {
  const all = promptsUpTo(load, lane);
  if (lane === "batch" || !Number.isFinite(turnTokens + chunkTokens)) return all;
  const others = upTo(lane).map((each) => load.prompts[each]);
  const beside = workers * (promptTokens + chunkTokens) + sum(others.map(({ count }) => count)) * chunkTokens;
  return Math.min(all, 2 * sum(others.map((each) => each.tokens(promptTokens + turnTokens))) + beside);
}

/** All that a job of `lane` may wait for. */
const promptsUpTo = ({ prompts }: Load, lane: Lane): number => sum(upTo(lane).map((each) => prompts[each].tokens()));

/** Lanes of which a job of `lane` waits for what came before it. */
const upTo = (lane: Lane): readonly Lane[] => LANES.slice(0, rank(lane) + 1);

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
