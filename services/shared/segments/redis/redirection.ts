import { RedisFailure } from "./failure.ts";
import { isSlot } from "./slots.ts";
import { isPort } from "./target.ts";

/** Where a node of a cluster sends us with a command: to the master of its slot (MOVED), or this once to the one that the slot is moving to (ASK). */
export interface Redirection {
  readonly once: boolean;
  readonly slot: number;
  /** Empty: that of the node that says so. */
  readonly host: string;
  readonly port: number;
}

/** From the text of an error reply: `MOVED 3999 10.0.0.5:6379`. Null for any other error; RedisFailure for a slot or a port that cannot be. */
export function redirectionOf(text: string): Redirection | null {
  const [, kind, slot, host, port] = /^(MOVED|ASK) (\d{1,5}) (\S*):(\d{1,5})$/.exec(text) ?? [];
  if (kind === undefined) return null;
  if (!isSlot(Number(slot)) || !isPort(Number(port))) throw new RedisFailure("protocol", `redirects to an invalid slot or port: ${text}`);
  return { once: kind === "ASK", slot: Number(slot), host: host!, port: Number(port) };
}

/** How a command came to a node. */
export interface Trip {
  /** So many nodes sent it on. */
  readonly hops: number;
  /** The last of them for this once: without ASKING it would be sent back. */
  readonly asking: boolean;
}

export const DIRECT: Trip = { hops: 0, asking: false };

/** Repeats at another node what one refused since its slot is not there; rejects with `failure` where that names no other. */
export type SendOn<Client> = <T>(failure: RedisFailure, trip: Trip, again: (client: Client, trip: Trip) => Promise<T>) => Promise<T>;

/** For who asks one server about itself. */
export const nowhere: SendOn<never> = (failure) => Promise.reject(failure);
