import { ServingError } from "../../shared/runtime/errors.ts";
import type { ProcessPlan } from "./plan.ts";

/** How a process ended that nobody had told to. */
export interface End {
  readonly ms: number;
  readonly how: string;
  /** Null: by a signal, or it never ran. */
  readonly code: number | null;
}

interface Started {
  readonly plan: ProcessPlan;
  readonly end: End | null;
  /** What it wrote last. */
  readonly tail: string;
  readonly logPath: string;
}

/** What a shell exits with when it finds no such program. */
const NOT_FOUND = 127;
/** Begins what a role says when it gives up, and its exit code where its configuration is at fault. */
const VERDICT = "longshore: ";
const AT_FAULT = 2;
const LINES_SHOWN = 5;

/** What Node writes right before the error that ended it: a mark under the place in its source, or, of V8 itself, the beginning of its words. */
const CRASH = /^\s*\^+$|^FATAL ERROR: /;
/** What Node writes around an error, and tells nobody why: where it was thrown, and its own version. */
const AROUND = /^\s*(at .*|\d+: 0x.*|\.{3} \d+ lines matching .*|[{}[\],]*|\^+|-+ Native stack trace -+|Node\.js v\S+)$/;

/** Why a start failed in which processes ended: of these the first is the cause, others may have ended because of it. */
export function startFailure(processes: readonly Started[]): ServingError {
  const endMs = ({ end }: Started) => end?.ms ?? Number.POSITIVE_INFINITY;
  const { plan, end, tail, logPath } = processes.toSorted((a, b) => endMs(a) - endMs(b))[0]!;
  if (end?.code === NOT_FOUND)
    return new ServingError("UNAVAILABLE", `${plan.name}: ${plan.program} was not found; \`sh deploy/setup.sh test\` installs it`);
  const { isVerdict, lines } = whyOf(tail.trimEnd().split("\n"));
  return new ServingError(
    isVerdict && end?.code === AT_FAULT ? "INVALID_REQUEST" : "UNAVAILABLE",
    `${plan.name} ended during startup (${end?.how}); its output is in ${logPath}\n  ${lines.join("\n  ").replace(VERDICT, "")}`,
  );
}

/** Of what a process said last, the lines that tell why it ended: its verdict, else the error that it did not catch, else the last. */
function whyOf(lines: readonly string[]): { readonly isVerdict: boolean; readonly lines: readonly string[] } {
  const verdict = lines.findLastIndex((line) => line.startsWith(VERDICT));
  if (verdict >= 0) return { isVerdict: true, lines: lines.slice(verdict, verdict + LINES_SHOWN) };
  const crash = lines.findLastIndex((line) => CRASH.test(line));
  if (crash < 0) return { isVerdict: false, lines: lines.slice(-LINES_SHOWN) }; // also those of programs that are not Node
  const telling = lines.slice(crash).filter((line) => !AROUND.test(line));
  return { isVerdict: false, lines: telling.slice(0, LINES_SHOWN) };
}
