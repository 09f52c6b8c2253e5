import type { JobRequest, LogRecord } from "../bus/events.ts";

// What a job's log, as it was at the claim, tells the claimant.

export function requestOf(history: readonly LogRecord[]): JobRequest {
  const first = history[0]?.event;
  if (first?.type === "submitted") return first.request;
  throw new Error("a job's log begins with `submitted`");
}

/** Ids of the answer that are in the log; a second hand-over repeats the first id. */
export function loggedTokens(history: readonly LogRecord[]): number[] {
  const tokens: number[] = [];
  for (const { event } of history) {
    if (event.type === "handed_over" && tokens.length === 0) tokens.push(event.token);
    if (event.type === "tokens") for (const id of event.ids) tokens.push(id);
  }
  return tokens;
}

/** Prompt tokens stored before this job computed any, as found by the first claim that got so far; null if none did. */
export function firstCached(history: readonly LogRecord[]): number | null {
  for (const { event } of history) {
    if ((event.type === "progress" || event.type === "handed_over") && event.cached !== undefined) return event.cached;
  }
  return null;
}

/** Tokens done at the last `progress`; null if there is none. */
export function lastProgress(history: readonly LogRecord[]): number | null {
  const event = history.findLast(({ event }) => event.type === "progress")?.event;
  return event?.type === "progress" ? event.done : null;
}

/** The most tokens done since the job was last sent back: after that event all of them are computed again. */
export function furthest(history: readonly LogRecord[]): number {
  let most = 0;
  for (const { event } of history) {
    if (event.type === "progress") most = Math.max(most, event.done);
    if (event.type === "sent_back") most = 0;
  }
  return most;
}

/** From the event before this claim to the claim, by the writers' clocks: for people. */
export function waitedMs(history: readonly LogRecord[]): number {
  const claimed = history.findLastIndex(({ event }) => event.type === "claimed");
  const [before, at] = [history[claimed - 1], history[claimed]];
  return before === undefined || at === undefined ? 0 : Math.max(0, at.atMs - before.atMs);
}

/** From a job's submission to `record`, by the writers' clocks: for people. */
export const sinceSubmittedMs = (history: readonly LogRecord[], { atMs }: LogRecord): number =>
  Math.max(0, atMs - (history[0]?.atMs ?? atMs));
