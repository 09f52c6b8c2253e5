import { type Logger, pino } from "pino";

export type { Logger };

/** JSON lines on stderr, so that stdout stays for what a command was asked to print. Prompts, answers and keys are never logged. */
export function openLog(role: string, level: string): Logger {
  return pino({ level, base: { role, pid: process.pid } }, pino.destination({ fd: 2, sync: true }));
}

export const silentLog: Logger = pino({ level: "silent" });
