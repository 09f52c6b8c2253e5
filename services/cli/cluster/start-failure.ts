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

/** Why a start failed in which processes ended: of these the first is the cause, others may have ended because of it. */
export function startFailure(processes: readonly Started[]): ServingError {
  const endMs = ({ end }: Started) => end?.ms ?? Number.POSITIVE_INFINITY;
  const { plan, end, tail, logPath } = processes.toSorted((a, b) => endMs(a) - endMs(b))[0]!;
  if (end?.code === NOT_FOUND)
    return new ServingError("UNAVAILABLE", `${plan.name}: ${plan.program} was not found; \`sh deploy/setup.sh test\` installs it`);
  const lines = tail.trimEnd().split("\n");
  const verdict = lines.findLastIndex((line) => line.startsWith(VERDICT));
  const said = verdict < 0 ? lines.slice(-LINES_SHOWN) : lines.slice(verdict, verdict + LINES_SHOWN);
  return new ServingError(
    verdict >= 0 && end?.code === AT_FAULT ? "INVALID_REQUEST" : "UNAVAILABLE",
    `${plan.name} ended while it started (${end?.how}); all it said is in ${logPath}\n  ${said.join("\n  ").replace(VERDICT, "")}`,
  );
}
