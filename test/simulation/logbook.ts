import { pino } from "pino";
import type { Logger } from "../../services/shared/runtime/log.ts";
import type { Process } from "./process.ts";
import type { World } from "./world.ts";

const ERROR = 50;

/** A process's log lines become part of the trace. Nothing that can happen to it justifies one at error level. */
export function logOf(world: World, process: Process): Logger {
  const write = (line: string) => {
    const { level, msg, err } = JSON.parse(line) as { level: number; msg: string; err?: { message: string } };
    const text = err === undefined ? msg : `${msg}: ${err.message}`;
    if (level < ERROR) process.note(text);
    else world.judge.fault(`${process.name} logs an error: ${text}`);
  };
  return pino({ level: "warn", base: null, timestamp: false }, { write });
}
