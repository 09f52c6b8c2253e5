import type { Logger } from "../runtime/log.ts";
import type { StoreStats, ValueHead } from "./contract.ts";
import type { DamageReason } from "./format.ts";

/**
 * Why a store could not do something.
 *
 *   away      no connection, or it broke      deadline  no answer in time          protocol  not a reply we know
 *   auth      user, password or permission    loading   starting, or busy          full      no memory left for values
 *   readonly  a replica, or no quorum         refused   any other error reply      queue     too many of our own waiting
 *   memory    the caller's `allocate` threw      unserved  no master of the cluster has it, or too few are up
 */
export type FailureReason =
  | "away"
  | "deadline"
  | "protocol"
  | "auth"
  | "loading"
  | "full"
  | "readonly"
  | "refused"
  | "queue"
  | "memory"
  | "unserved";

/**
 * Operations are logged apart, since a Redis that is full, or a replica, still does some of them. The state of one
 * changes when it fails for a new reason or works again.
 */
export type Operation = (typeof OPERATIONS)[number];
const OPERATIONS = ["get", "put", "count", "claim"] as const;

/** Counts what a store does. Logs all damage, and trouble once per change of state of each operation at each server. */
export class Tally {
  readonly #log: Logger;
  readonly #counts = { hits: 0, misses: 0, damaged: 0, failures: 0, bytesOut: 0 };
  readonly #stored = { segment: { puts: 0, bytes: 0 }, boundary: { puts: 0, bytes: 0 } };
  readonly #damagedBy: Record<string, number> = {};
  readonly #failuresBy: Record<string, number> = {};
  /** By operation and server. */
  readonly #trouble = new Map<string, FailureReason>();

  constructor(log: Logger) {
    this.#log = log;
  }

  stats(): StoreStats {
    return structuredClone({ ...this.#counts, stored: this.#stored, damagedBy: this.#damagedBy, failuresBy: this.#failuresBy });
  }

  hit(bytes: number, server = ""): void {
    this.#counts.hits++;
    this.#counts.bytesOut += bytes;
    this.worked("get", server);
  }

  miss(server = ""): void {
    this.#counts.misses++;
    this.worked("get", server);
  }

  damaged(kind: ValueHead["kind"], reason: DamageReason, server = ""): void {
    this.#counts.damaged++;
    this.#damagedBy[reason] = (this.#damagedBy[reason] ?? 0) + 1;
    this.#log.warn({ kind, reason }, "a stored value is damaged or foreign: not used, computed again");
    this.worked("get", server);
  }

  stored(kind: ValueHead["kind"], bytes: number, server = ""): void {
    this.#stored[kind].puts++;
    this.#stored[kind].bytes += bytes;
    this.worked("put", server);
  }

  failed(operation: Operation, reason: FailureReason, error: unknown, server = ""): void {
    this.#counts.failures++;
    this.#failuresBy[reason] = (this.#failuresBy[reason] ?? 0) + 1;
    if (this.trouble(operation, server) === reason) return;
    this.#trouble.set(stateOf(operation, server), reason);
    const detail = error instanceof Error ? error.message : String(error);
    this.#log.warn({ operation, ...(server !== "" && { server }), reason, detail }, "the segment store fails: work goes on without it");
  }

  /** Why the operation failed last; null if it works. */
  trouble(operation: Operation, server: string): FailureReason | null {
    return this.#trouble.size === 0 ? null : (this.#trouble.get(stateOf(operation, server)) ?? null);
  }

  worked(operation: Operation, server: string): void {
    if (this.#trouble.size === 0 || !this.#trouble.delete(stateOf(operation, server))) return;
    this.#log.info({ operation, ...(server !== "" && { server }) }, "the segment store works again");
  }

  /** Nothing that failed at `server` fails any more. */
  recovered(server: string): void {
    for (const operation of OPERATIONS) this.worked(operation, server);
  }

  /** `server` is out of use: others do what it did. */
  left(server: string): void {
    for (const operation of OPERATIONS) this.#trouble.delete(stateOf(operation, server));
    this.#log.info({ server }, "a segment store server is no longer used");
  }
}

const stateOf = (operation: Operation, server: string): string => `${operation} ${server}`;
