import { ServingError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/log.ts";
import type { Metrics } from "../runtime/metrics.ts";

/** An event of a log that this program cannot read. */
export interface Damage {
  readonly jobId: string;
  readonly sequence: number;
  readonly error: ServingError;
}
export type OnDamage = (damage: Damage) => void;

/** Jobs whose damage is remembered as told. */
const TOLD_MAX = 10_000;

/** Counts and logs each damaged job once, however often somebody tries to read it. */
export function tellDamage(log: Logger, metrics: Metrics): OnDamage {
  const jobs = metrics.counter(
    "longshore_damaged_jobs_total",
    "Jobs with an event that cannot be read, each counted once by each process.",
  );
  const told = new Set<string>();
  return ({ jobId, sequence, error }) => {
    if (told.has(jobId)) return;
    if (told.size === TOLD_MAX) told.clear();
    told.add(jobId);
    jobs.inc();
    log.error({ jobId, sequence, err: error.cause ?? error }, "an event of a job cannot be read: the job is left alone until its deadline");
  };
}

export const isDamaged = (thrown: unknown): thrown is ServingError => thrown instanceof ServingError && thrown.code === "DAMAGED";

/** Null in place of what cannot be read. */
export function unlessDamaged<T>(read: () => T): T | null {
  try {
    return read();
  } catch (thrown) {
    if (isDamaged(thrown)) return null;
    throw thrown;
  }
}
