import { type Logger, pino } from "pino";
import { ServingError } from "./errors.ts";

export type { Logger };

/** The most bytes of lines that wait while stderr takes none; further lines are lost. */
const WAITING_BYTES_MAX = 1_048_576;

/**
 * JSON lines on stderr, so that stdout stays for a command's output. Prompts, answers and keys are never logged. If
 * lines cannot be written, as to a file on a full disk, the work goes on without them.
 */
export function openLog(role: string, level: string): Logger {
  const stderr = pino.destination({ fd: 2, sync: true, maxLength: WAITING_BYTES_MAX });
  stderr.on("error", () => {}); // tried again with the next line
  // When a line finds no room, pino does not retry those that wait before it. Its types lack `release`, which does.
  stderr.on("drop", () => (stderr as unknown as { release(error: null, written: number): void }).release(null, 0));
  stderr.flushSync = () => {}; // each line is written at once; at a fatal one this would wait until the disk has room
  return pino({ level, base: { role, pid: process.pid }, serializers: { err: told } }, stderr);
}

/**
 * An error as a field of a line. A foreseen error is logged without its stack, which says only where it was met. A
 * defect keeps its stack, also as the cause of a foreseen error.
 */
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
