import type { JobEvent } from "../shared/bus/events.ts";
import { type ErrorCode, isErrorCode } from "../shared/runtime/errors.ts";

/** Failures whose words may name what is ours: files, addresses, lines of code. */
const OURS: readonly ErrorCode[] = ["INTERNAL", "BAD_CHECKPOINT"];

/** What a client may read of a failure; of ours, where its operator finds the words. A code of a newer version is ours, too. */
export const redactedMessage = ({ code, message }: { readonly code: string; readonly message: string }): string =>
  isErrorCode(code) && !OURS.includes(code) ? message : "internal error; the server's log has the details under this request or job id";

/** An event of a job's log as its tenant may read it. A release that is not excused has the words of what a worker met, and no code. */
export function redactedEvent(event: JobEvent): JobEvent {
  if (event.type === "failed") return { ...event, message: redactedMessage(event) };
  if (event.type !== "released" || event.excused === true) return event;
  return { ...event, reason: redactedMessage({ code: "INTERNAL", message: event.reason }) };
}
