import type { Registry } from "../shared/bus/contract.ts";
import type { Clock } from "../shared/runtime/clock.ts";

export interface Beating {
  readonly registry: Registry;
  readonly clock: Clock;
  readonly beatMs: number;
}

/** Shows `id` under `role` to all replicas while `wanted`, then takes it away. Rejects when `signal` aborts: the beat then ends by itself. */
export async function beatWhile(
  { registry, clock, beatMs }: Beating,
  role: string,
  id: string,
  wanted: () => boolean,
  signal: AbortSignal,
): Promise<void> {
  while (wanted()) {
    await registry.beat(role, id, "").catch(() => {}); // the record is away: the next beat tells
    await clock.sleep(beatMs, signal);
  }
  await registry.retire(role, id);
}

/** Under which role a replica shows that it lives. */
export const REPLICAS = "api";
/** Under which role the replicas that read a job show themselves. */
export const readersOf = (jobId: string): string => `reader.${jobId}`;
/** Under which role the replica that took a job shows that its readers are gone. */
export const leftBy = (jobId: string): string => `left.${jobId}`;
