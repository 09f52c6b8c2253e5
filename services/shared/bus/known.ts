import type { Clock } from "../runtime/clock.ts";
import { ServingError } from "../runtime/errors.ts";
import type { Appended } from "./journal.ts";
import { backoffMs, isUnavailable, Pause } from "./pause.ts";

interface Append {
  /** For messages: `the log`. */
  readonly where: string;
  /** One try; repeated tries carry the same id. */
  once(): Promise<Appended>;
  /** The sequence of this append if it is the last one where it went; null if it is not. */
  find(): Promise<number | null>;
}

/**
 * Repeats an append without an answer until its outcome is known: its sequence, or null when another came first. After about `ms`
 * UNAVAILABLE, and the outcome stays unknown. OVERLOADED, and not stored, when there is no room.
 */
export async function untilKnown(append: Append, clock: Clock, ms: number, closing: AbortSignal): Promise<number | null> {
  const endMs = clock.monotonicMs() + ms;
  for (let tries = 0; ; tries++) {
    const outcome = await append.once();
    if (outcome.kind === "stored") return outcome.sequence;
    if (outcome.kind === "full") throw new ServingError("OVERLOADED", `no room in ${append.where}; try again later, or give it more`);
    if (outcome.kind === "refused" && tries === 0) return null;
    // Refused after a try without an answer: that try may have been stored, longer ago than the dedupe window remembers.
    const found = outcome.kind === "refused" ? await append.find().catch(unanswered) : unanswered(outcome.cause);
    if (found === null || typeof found === "number") return found;
    if (closing.aborted || clock.monotonicMs() >= endMs) throw found;
    await new Pause().wait(clock, backoffMs(tries), closing);
  }
}

function unanswered(cause: unknown): ServingError {
  if (isUnavailable(cause)) return cause;
  return new ServingError("UNAVAILABLE", `the record did not answer: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
}
