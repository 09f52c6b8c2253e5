import { ServingError } from "../runtime/errors.ts";
import type { JobEvent, LogRecord, Tokens } from "./events.ts";

/** Where a job stands after its last event. */
export type Standing = Pick<LogRecord, "epoch" | "phase" | "attempt" | "tokenCount">;

export const unborn: Standing = { epoch: 0, phase: "prefill", attempt: 0, tokenCount: 0 };

/**
 * True if the event's writer still holds the job, as long as the event is not too old; any other event ends its claim.
 */
export const holds = (event: JobEvent): boolean => event.type === "claimed" || event.type === "progress" || event.type === "tokens";

/**
 * How long nothing has followed what was stored at `storedMs`, both by the record's clock. A stamp in the future is
 * from before that clock was set back, or from another of its servers. Its age is unknown and counts as how far ahead
 * it is: otherwise its writer would be waited for that much longer.
 */
export const quietMs = (storedMs: number, nowMs: number): number => Math.abs(nowMs - storedMs);

/**
 * Where the job stands once `event` happened. INTERNAL for tokens that would leave a gap or come twice (I3): a broken
 * promise of our own.
 */
export function advance(standing: Standing, event: JobEvent): Standing {
  switch (event.type) {
    case "claimed":
      return { ...standing, epoch: standing.epoch + 1, attempt: standing.attempt + 1 };
    case "progress":
      return event.stored > 0 ? { ...standing, attempt: 0 } : standing;
    case "tokens":
      return { ...standing, attempt: 0, tokenCount: extended(standing.tokenCount, event) };
    case "finished":
      return event.tokens === undefined ? standing : { ...standing, tokenCount: extended(standing.tokenCount, event.tokens) };
    case "handed_over":
      return { ...standing, phase: "decode", attempt: 0, tokenCount: Math.max(1, standing.tokenCount) };
    case "sent_back":
      return { ...standing, phase: "prefill" };
    case "released":
      return event.excused === true ? { ...standing, attempt: Math.max(0, standing.attempt - 1) } : standing;
    default:
      return standing;
  }
}

function extended(tokenCount: number, { first, ids }: Tokens): number {
  if (first === tokenCount && ids.length > 0) return tokenCount + ids.length;
  throw new ServingError("INTERNAL", `${ids.length} tokens from index ${first} cannot follow the ${tokenCount} tokens in the log`);
}
