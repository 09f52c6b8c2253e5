import type { LogRecord } from "../../services/shared/bus/events.ts";
import { TURN_IS_OVER } from "../../services/shared/bus/reasons.ts";
import { answered } from "../support/answers.ts";
import { faultsOf } from "../support/bus.ts";
import type { Reply } from "./client.ts";
import { SEGMENT_TOKENS } from "./cluster.ts";
import type { Expected, Job } from "./jobs.ts";

/** What became of one job. */
export interface Verdict {
  /** Differences from a quiet day; empty if there are none. */
  readonly faults: readonly string[];
  readonly tokensLost: number;
  readonly tokensDoubled: number;
  readonly tokens: number;
  /** Claims taken from a worker that did not hand its job back. */
  readonly takeovers: number;
  /** Times a worker that was told to stop handed the job back. */
  readonly handedBack: number;
  readonly sentBack: number;
  /** Turns that ended because others waited. */
  readonly turns: number;
  /** Segments of prompts computed in all, and those of them that would not be computed on a quiet day. */
  readonly segments: number;
  readonly segmentsAgain: number;
  /** The longest a job stood still once it had begun, from when (wall clock), and between which events. */
  readonly stillMs: number;
  readonly stillFromMs: number;
  readonly still: string;
}

/** Compares what a client got, and what the record holds, with a quiet day. */
export function audit(job: Job, expected: Expected, reply: Reply, records: readonly LogRecord[]): Verdict {
  const { ids, faults } = idsOf(records);
  const logged = ids.length;
  const wanted = expected.ids.length;
  return {
    faults: [...faults, ...differences(job, expected, reply, records, ids)],
    tokens: logged,
    tokensLost: Math.max(0, wanted - logged),
    tokensDoubled: Math.max(0, logged - wanted),
    takeovers: takeoversOf(records),
    handedBack: records.filter(({ event }) => event.type === "released").length,
    sentBack: records.filter(({ event }) => event.type === "sent_back").length,
    turns: records.filter(({ event }) => event.type === "released" && event.reason === TURN_IS_OVER).length,
    ...segmentsOf(records),
    ...longestStill(records),
  };
}

function idsOf(records: readonly LogRecord[]): { readonly ids: readonly number[]; readonly faults: readonly string[] } {
  const faults = faultsOf(records);
  try {
    return { ids: answered(records).ids, faults };
  } catch (error) {
    return { ids: [], faults: [...faults, (error as Error).message] };
  }
}

function differences(job: Job, expected: Expected, reply: Reply, records: readonly LogRecord[], ids: readonly number[]): string[] {
  const last = records.at(-1)!.event;
  const same = (what: string, got: unknown, wanted: unknown) => (got === wanted ? [] : [`${what} is ${short(got)}, not ${short(wanted)}`]);
  return [
    ...same("the end of the log", last.type, "finished"),
    ...same("ids in the log", ids.join(), expected.ids.join()),
    ...same("the text", reply.text, expected.text),
    ...same("finish_reason", reply.reason, expected.reason),
    ...same("prompt_tokens", reply.promptTokens, job.ids.length),
    ...same("completion_tokens", reply.completionTokens, expected.ids.length),
  ];
}

const short = (value: unknown): string => JSON.stringify(String(value)).slice(0, 200);

/** A claim right after an event that holds one was not handed over but taken. */
const takeoversOf = (records: readonly LogRecord[]): number =>
  records.filter(({ event }, i) => event.type === "claimed" && ["claimed", "progress", "tokens"].includes(records[i - 1]!.event.type))
    .length;

/**
 * Each prefill claim reports 0 while it loads what is stored, then where it starts. What an earlier claim of this job
 * had computed beyond that is computed again.
 */
function segmentsOf(records: readonly LogRecord[]): Pick<Verdict, "segments" | "segmentsAgain"> {
  let [computed, again, reached] = [0, 0, 0];
  let at: number | null = null;
  const reach = (position: number) => {
    if (at === null) again += Math.max(0, reached - position);
    else computed += position - at;
    at = position;
    reached = Math.max(reached, position);
  };
  for (const { event, phase } of records) {
    if (event.type === "claimed") at = null;
    if (event.type === "progress" && phase === "prefill" && event.done > 0) reach(event.done);
    if (event.type === "handed_over") reach(event.boundary);
  }
  return { segments: computed / SEGMENT_TOKENS, segmentsAgain: again / SEGMENT_TOKENS };
}

function longestStill(records: readonly LogRecord[]): Pick<Verdict, "stillMs" | "stillFromMs" | "still"> {
  const begin = records.findIndex(({ event }) => event.type === "claimed");
  let longest = { stillMs: 0, stillFromMs: 0, still: "" };
  for (let i = Math.max(1, begin + 1); i < records.length; i++) {
    const [before, after] = [records[i - 1]!, records[i]!];
    const stillMs = after.atMs - before.atMs;
    const still = `${before.jobId}, ${before.event.type} to ${after.event.type}`;
    if (stillMs > longest.stillMs) longest = { stillMs, stillFromMs: before.atMs, still };
  }
  return longest;
}
