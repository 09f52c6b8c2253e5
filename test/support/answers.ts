import type { Bus } from "../../services/shared/bus/contract.ts";
import { isTerminal, type JobEvent, type JobRequest, type LogRecord } from "../../services/shared/bus/events.ts";
import type { TokenLogprobs } from "../../services/shared/engine/engine.ts";
import { collect } from "./bus.ts";

export interface Answered {
  readonly ids: number[];
  readonly end: JobEvent;
}

export async function untilEvent(bus: Bus, jobId: string, wanted: (record: LogRecord) => boolean): Promise<LogRecord> {
  for await (const record of bus.log.follow(jobId, 0, AbortSignal.timeout(60_000))) if (wanted(record)) return record;
  throw new Error(`job ${jobId}: no such event in ${(await bus.log.read(jobId)).map(({ event }) => event.type).join(" ")}`);
}

/** Every event of a job up to its end. */
export async function eventsOf(bus: Bus, jobId: string): Promise<LogRecord[]> {
  const records = await collect(bus.log.follow(jobId, 0, AbortSignal.timeout(60_000)));
  const last = records.at(-1);
  if (last === undefined || !isTerminal(last.event)) {
    throw new Error(`job ${jobId} did not end: ${records.map(({ event, attempt }) => `${event.type}/${attempt}`).join(" ")}`);
  }
  return records;
}

/**
 * The answer by the rules for readers: indices decide, a repeated hand-over adds nothing, a stop id is no part of it.
 * Throws if an index came twice with two ids.
 */
export function answered(records: readonly LogRecord[]): Answered {
  const ids: number[] = [];
  const put = (index: number, id: number) => {
    if (index > ids.length) throw new Error(`a hole before token ${index}`);
    if (index < ids.length && ids[index] !== id) throw new Error(`token ${index} was ${ids[index]} and became ${id}`);
    ids[index] = id;
  };
  for (const { event } of records) {
    if (event.type === "handed_over") put(0, event.token);
    const tokens = event.type === "tokens" ? event : event.type === "finished" ? event.tokens : undefined;
    for (const [i, id] of tokens?.ids.entries() ?? []) put(tokens!.first + i, id);
  }
  const { request } = records[0]!.event as { request: JobRequest };
  return { ids: ids.filter((id) => !request.stopIds.includes(id)), end: records.at(-1)!.event };
}

/**
 * The log probabilities of the answer's tokens in order; a hand-over that was repeated adds nothing, nor does a stop
 * id.
 */
export function logprobsOf(records: readonly LogRecord[]): (TokenLogprobs | undefined)[] {
  const all: (TokenLogprobs | undefined)[] = [];
  const { request } = records[0]!.event as { request: JobRequest };
  for (const { event } of records) {
    if (event.type === "handed_over" && all.length === 0 && !request.stopIds.includes(event.token)) all.push(event.logprobs);
    const tokens = event.type === "tokens" ? event : event.type === "finished" ? event.tokens : undefined;
    if (tokens !== undefined) all.push(...tokens.ids.map((_, i) => tokens.logprobs?.[i]));
  }
  return all;
}
