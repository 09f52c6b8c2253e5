import type { Clock } from "../runtime/clock.ts";
import { isUnavailable, ServingError } from "../runtime/errors.ts";
import { backoffMs, Pause } from "../runtime/pause.ts";
import type { Appended, Entry } from "./journal.ts";

export interface Append {
  /** For messages: `the log`. */
  readonly where: string;
  /** Unique to this append. */
  readonly id: string;
  /** One try. */
  once(): Promise<Appended>;
  /** The last entry at the place it went to. */
  last(): Promise<Pick<Entry, "id" | "sequence"> | null>;
  /** Whether it waits for room as it does for an answer. */
  readonly waits?: boolean;
  /** Called with the reason after each try that leaves it waiting. */
  readonly failed?: (why: ServingError) => void;
}

/**
 * Repeats an append without an answer until its outcome is known: its sequence, or null when another came first. After
 * about `ms` throws UNAVAILABLE, and the outcome stays unknown. Throws OVERLOADED, and stores nothing, when there is no
 * room: at once, or after that time if the append waits.
 */
export async function untilKnown(append: Append, clock: Clock, ms: number, closing: AbortSignal): Promise<number | null> {
  const endMs = clock.monotonicMs() + ms;
  for (let tries = 0; ; tries++) {
    const outcome = await append.once();
    if (outcome.kind === "stored") return outcome.sequence;
    if (outcome.kind === "refused" && tries === 0) return null;
    const found = await resultOf(append, outcome);
    if (found === null || typeof found === "number") return found;
    if ((outcome.kind === "full" && !append.waits) || closing.aborted || clock.monotonicMs() >= endMs) throw found;
    append.failed?.(found);
    await new Pause().wait(clock, backoffMs(tries), closing);
  }
}

/**
 * Refused after a try without an answer: that try may have been stored, longer ago than the dedupe window remembers.
 */
function resultOf(append: Append, outcome: Exclude<Appended, { kind: "stored" }>): Promise<number | null | ServingError> | ServingError {
  if (outcome.kind === "refused") return append.last().then((last) => (last?.id === append.id ? last.sequence : null), unanswered);
  if (outcome.kind === "unknown") return unanswered(outcome.cause);
  return new ServingError("OVERLOADED", outcome.why ?? `no room in ${append.where}; try again later, or give it more`);
}

function unanswered(cause: unknown): ServingError {
  if (isUnavailable(cause)) return cause;
  return new ServingError("UNAVAILABLE", `the record did not answer: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
}
