import { type Logger, pino } from "pino";
import { ServingError } from "./errors.ts";

export type { Logger };

/** Lines that wait while nobody takes them, in bytes; what comes on top is lost. */
const WAITING_BYTES_MAX = 1_048_576;

/**
 * JSON lines on stderr, so that stdout stays for what a command was asked to print. Prompts, answers and keys are never logged. Where they cannot be
 * written, because stderr is a file and its disk is full, the work goes on without them.
 */
export function openLog(role: string, level: string): Logger {
  const stderr = pino.destination({ fd: 2, sync: true, maxLength: WAITING_BYTES_MAX });
  stderr.on("error", () => {}); // tried again with the next line
  // Of a line that finds no room it does not try what waits before it (its types lack the way to).
  stderr.on("drop", () => (stderr as unknown as { release(error: null, written: number): void }).release(null, 0));
  stderr.flushSync = () => {}; // each line is written at once: for a fatal one it would wait until the disk has room
  return pino({ level, base: { role, pid: process.pid }, serializers: { err: told } }, stderr);
}

/** An error in a line. What was foreseen is told in words: its stack says no more than where it was met. A defect, also where it is behind that, keeps its own. */
export function told(thrown: unknown): object {
  if (!(thrown instanceof ServingError) || thrown.code === "INTERNAL") return pino.stdSerializers.err(thrown as Error);
  const { code, told: message } = thrown;
  const cause = firstCause(thrown);
  if (isDefect(cause)) return { code, message, cause: pino.stdSerializers.err(cause) };
  return { code, message, ...(cause !== thrown && !message.includes(cause.message) && { why: cause.message }) };
}

function firstCause(error: Error): Error {
  const seen = new Set<Error>();
  let at = error;
  for (; at.cause instanceof Error && !seen.has(at); at = at.cause) seen.add(at);
  return at;
}

const isDefect = (error: Error): boolean =>
  [TypeError, RangeError, ReferenceError].some((kind) => error instanceof kind) ||
  (error instanceof ServingError && error.code === "INTERNAL");

export const silentLog: Logger = pino({ level: "silent" });
