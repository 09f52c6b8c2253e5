import { RedisFailure } from "./failure.ts";
import { isSlot } from "./slots.ts";
import { atNode, isPort, nameOf, type RedisTarget } from "./target.ts";

/** The slots from `first` to `last`, and their master. */
export interface SlotRange {
  readonly first: number;
  readonly last: number;
  readonly master: RedisTarget;
}

/**
 * What CLUSTER SLOTS answered: `[first, last, [host, port, ...], ...replicas]` for each range. Nodes are reached
 * as `asked` was. RedisFailure for anything else, and where it knows of no slots, as a node that was started anew.
 */
export function slotMapOf(reply: unknown, asked: RedisTarget): readonly SlotRange[] {
  if (!Array.isArray(reply) || !reply.every(isRange)) throw new RedisFailure("protocol", `${nameOf(asked)} sent no map of slots`);
  if (reply.length === 0) throw new RedisFailure("refused", `${nameOf(asked)} knows of no slots`);
  return reply.map(([first, last, [host, port]]) => ({ first, last, master: atNode(asked, host, port) }));
}

type RangeReply = readonly [first: number, last: number, master: readonly [host: string | null, port: number, ...rest: unknown[]]];

function isRange(range: unknown): range is RangeReply {
  if (!Array.isArray(range) || !Array.isArray(range[2])) return false;
  const [first, last, [host, port]] = range;
  return isSlot(first) && isSlot(last) && first <= last && (host === null || typeof host === "string") && isPort(port);
}
