import { setTimeout as sleep } from "node:timers/promises";
import type { Bus, Claim, ClaimResult } from "../../services/shared/bus/contract.ts";
import { isTerminal, type JobRequest, type LogRecord, type Phase } from "../../services/shared/bus/events.ts";
import { ServingError } from "../../services/shared/runtime/errors.ts";

export const never = new AbortController().signal;

export const request = (changes: Partial<JobRequest> = {}): JobRequest => ({
  model: "yard/log 1.0",
  tenant: "tenant",
  lane: "interactive",
  prompt: { ids: Int32Array.of(1, 2, 3) },
  promptTokens: 3,
  maxTokens: 100,
  sampling: { temperature: 0.7, topP: 0.95, topK: 40, minP: 0.05, seed: 2n ** 64n - 1n },
  stop: ["\n\n"],
  stopIds: [7],
  deadlineMs: 4_102_444_800_000, // the year 2100
  detached: false,
  view: "{}",
  ...changes,
});

export const usage = { promptTokens: 3, completionTokens: 2, cachedTokens: 0 };
export const finished = { type: "finished", reason: "stop", usage } as const;
export const handedOver = { type: "handed_over", token: 9, boundary: 3, cached: 0, recomputed: 0 } as const;
export const tokens = (first: number, ...ids: number[]) => ({ type: "tokens", first, ids }) as const;
export const progress = (stored: number) => ({ type: "progress", done: 1, total: 3, stored, cached: 0 }) as const;

/** The claim in a result that must hold one. */
export function held(result: ClaimResult): Claim {
  if (result.kind === "claimed" || result.kind === "exhausted") return result.claim;
  throw new Error(`expected a claim, found ${result.kind}`);
}

export const submitAndClaim = async (bus: Bus, jobId: string, worker = "first"): Promise<Claim> => {
  await bus.log.submit(jobId, request());
  return held(await bus.log.claim(jobId, "prefill", worker));
};

/** Messages waiting or in flight. */
export const depth = async (bus: Bus, phase: Phase, model: string): Promise<number> =>
  (await bus.queue.messages(phase)).filter((waiting) => waiting.model === model).length;

/** Fills the log with events of a job, until not even a short one finds room. */
export async function fillLog(bus: Bus, jobId: string): Promise<void> {
  await bus.log.submit(jobId, request());
  for (let characters = 2 ** 18; characters >= 1; ) {
    const last = (await bus.log.last(jobId))!;
    const full = await bus.log.appendAfter(last, { type: "released", reason: "x".repeat(characters) }).catch((error: unknown) => error);
    if (full === true) continue;
    if (!(full instanceof ServingError && full.code === "OVERLOADED")) throw full;
    characters /= 2;
  }
}

/** How long to wait for a condition, on a machine that stands still now and then. */
const PATIENCE_MS = 60_000;

/** Tries until the holder's claim is too old. */
export async function takeOver(bus: Bus, jobId: string, phase: Phase, worker: string): Promise<ClaimResult> {
  for (const endMs = Date.now() + PATIENCE_MS; Date.now() < endMs; await sleep(10)) {
    const result = await bus.log.claim(jobId, phase, worker);
    if (result.kind !== "held") return result;
  }
  throw new Error(`job ${jobId} stayed held`);
}

export async function collect<T>(records: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const record of records) all.push(record);
  return all;
}

/**
 * What must hold for every log (I2, I3): links without gaps, epochs that grow by claims alone, tokens once and in
 * order, one end.
 */
export function faultsOf(records: readonly LogRecord[]): string[] {
  const faults: string[] = [];
  let tokenCount = 0;
  records.forEach(({ event, sequence, previous, epoch, ...record }, index) => {
    const before = records[index - 1];
    if (previous !== (before?.sequence ?? 0)) faults.push(`${sequence} follows ${previous}, not ${before?.sequence}`);
    if (epoch !== (before?.epoch ?? 0) + (event.type === "claimed" ? 1 : 0)) faults.push(`${sequence} has epoch ${epoch}`);
    const added = event.type === "tokens" ? event : event.type === "finished" ? event.tokens : undefined;
    if (added !== undefined && added.first !== tokenCount) faults.push(`${sequence} starts at token ${added.first}, not ${tokenCount}`);
    if (before !== undefined && isTerminal(before.event)) faults.push(`${sequence} comes after the end`);
    tokenCount = record.tokenCount;
  });
  return faults;
}

/**
 * Time since a moment of `performance.now()`, plus 1 ms: as far as two clocks read meanwhile in whole milliseconds may
 * be apart.
 */
export const sinceMs = (beganMs: number): number => performance.now() - beganMs + 1;

/** A machine's monotonic clock and a server's wall clock drift apart by less than this in the time of a test. */
export const CLOCKS_MS = 20;

/** For each claim but the first, the time from the event before it until it was stored, by the record's clock. */
export async function takeoversMs(bus: Bus, jobId: string): Promise<number[]> {
  const times = await bus.log.storedTimes(jobId);
  const [, ...takeovers] = (await bus.log.read(jobId)).filter(({ event }) => event.type === "claimed");
  return takeovers.map(({ sequence, previous }) => times.get(sequence)! - times.get(previous)!);
}

/** Waits for a condition that time brings about by itself. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const endMs = Date.now() + PATIENCE_MS; Date.now() < endMs; await sleep(10)) if (await holds()) return;
  throw new Error(`it did not come about within ${PATIENCE_MS} ms`);
}
