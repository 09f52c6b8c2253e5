import { RedisFailure } from "./failure.ts";
import { isSlot } from "./slots.ts";
import { isPort } from "./target.ts";

/**
 * Where a cluster node sends a command: to the master of its slot (MOVED), or this once to the node the slot is moving
 * to (ASK).
 */
export interface Redirection {
  readonly once: boolean;
  readonly slot: number;
  /** Empty: the host of the node that says so. */
  readonly host: string;
  readonly port: number;
}

/**
 * Reads an error reply: `MOVED 3999 10.0.0.5:6379`. Null for any other error; throws RedisFailure for an impossible
 * slot or port.
 */
export function redirectionOf(text: string): Redirection | null {
  const [, kind, slot, host, port] = /^(MOVED|ASK) (\d{1,5}) (\S*):(\d{1,5})$/.exec(text) ?? [];
  if (kind === undefined) return null;
  if (!isSlot(Number(slot)) || !isPort(Number(port))) throw new RedisFailure("protocol", `redirects to an invalid slot or port: ${text}`);
  return { once: kind === "ASK", slot: Number(slot), host: host!, port: Number(port) };
}

/** How a command reached a node. */
export interface Trip {
  /** Nodes that have sent it on. */
  readonly hops: number;
  /** Whether the last of them answered ASK: without ASKING, the next node would send it back. */
  readonly asking: boolean;
}

export const DIRECT: Trip = { hops: 0, asking: false };

/** Repeats a command at the node to which `failure` redirects it; rejects with `failure` if it names none. */
export type SendOn<Client> = <T>(failure: RedisFailure, trip: Trip, again: (client: Client, trip: Trip) => Promise<T>) => Promise<T>;

/** For commands that ask one server about itself. */
export const nowhere: SendOn<never> = (failure) => Promise.reject(failure);
