import { availableParallelism, totalmem } from "node:os";
import { cgroupLimits } from "./cgroup.ts";

/** What the process may use, and who says so. */
export interface MemoryPresent {
  readonly bytes: number;
  readonly limitedBy: "machine" | "cgroup";
}

/** The smaller of the machine's memory and the container's limit. */
export function memoryPresent(machine = totalmem(), limit = cgroupLimits().memoryBytes): MemoryPresent {
  return limit !== null && limit < machine ? { bytes: limit, limitedBy: "cgroup" } : { bytes: machine, limitedBy: "machine" };
}

/**
 * How many threads may compute at once: the cores that the process may run on, at most the CPU limit of its container.
 * A limit like 1.5 is rounded down, to 1 at least: one thread more would get all of them throttled for a part of each
 * period, and the event loop uses the rest.
 */
export const coresPresent = (cores = availableParallelism(), limit = cgroupLimits().cores): number =>
  limit === null ? cores : Math.max(1, Math.min(cores, Math.floor(limit)));
