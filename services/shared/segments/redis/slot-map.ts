import { RedisFailure } from "./failure.ts";
import { SLOTS } from "./slots.ts";
import type { RedisTarget } from "./target.ts";

/** The slots from `first` to `last`, and their master. */
export interface SlotRange {
  readonly first: number;
  readonly last: number;
  readonly master: RedisTarget;
}

/**
 * What CLUSTER SLOTS answered: `[first, last, [host, port, ...], ...replicas]` for each range. A node without a host is reached as `asked` was, all
 * of them as whom and by TLS or not as that. RedisFailure for anything else, and where it knows of no slots, as a node that was started anew.
 */
export function slotMapOf(reply: unknown, asked: RedisTarget): readonly SlotRange[] {
  if (!Array.isArray(reply) || !reply.every(isRange))
    throw new RedisFailure("protocol", `${asked.host}:${asked.port} sent no map of slots`);
  if (reply.length === 0) throw new RedisFailure("refused", `${asked.host}:${asked.port} knows of no slots`);
  return reply.map(([first, last, [host, port]]) => ({ first, last, master: { ...asked, host: host || asked.host, port } }));
}

type RangeReply = readonly [first: number, last: number, master: readonly [host: string | null, port: number, ...rest: unknown[]]];

function isRange(range: unknown): range is RangeReply {
  if (!Array.isArray(range) || !Array.isArray(range[2])) return false;
  const [first, last, [host, port]] = range;
  const isSlot = (slot: unknown) => Number.isInteger(slot) && (slot as number) >= 0 && (slot as number) < SLOTS;
  return isSlot(first) && isSlot(last) && (host === null || typeof host === "string") && Number.isInteger(port);
}
