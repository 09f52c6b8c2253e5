import type { Bus } from "../shared/bus/contract.ts";
import type { Clock } from "../shared/runtime/clock.ts";

/** What a replica shows itself to the others with. */
export interface Shown {
  readonly bus: Bus;
  readonly clock: Clock;
  /** How long a job is kept whose readers left. */
  readonly graceMs: number;
  readonly beatMs: number;
  /** Its own name. */
  readonly replica: string;
}

/** A server of the record that was started again has forgotten who shows himself: nobody is gone before he was not seen for so many beats. */
export const ABSENT_BEATS = 2;
/** Under which role a replica shows that it lives. */
export const REPLICAS = "api";
/** Under which role the replicas that read a job show themselves. */
export const readersOf = (jobId: string): string => `reader.${jobId}`;
/** Under which role the replica that took a job shows that its readers are gone. */
export const leftBy = (jobId: string): string => `left.${jobId}`;
