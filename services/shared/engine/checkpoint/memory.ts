import { totalmem } from "node:os";

/** The memory that the process may use, and what limits it. */
export interface MemoryPresent {
  readonly bytes: number;
  readonly limitedBy: "machine" | "cgroup";
}

/** The smaller of the machine's memory and the container's limit. */
export function memoryPresent(machine = totalmem(), limit = process.constrainedMemory()): MemoryPresent {
  return limit > 0 && limit < machine ? { bytes: limit, limitedBy: "cgroup" } : { bytes: machine, limitedBy: "machine" };
}
