import { RedisFailure } from "./failure.ts";
import { isSlot } from "./slots.ts";
import { atNode, isPort, nameOf, type RedisTarget } from "./target.ts";

/** As many masters as a cluster is made for. */
export const MASTERS_MAX = 1_000;

/** The slots from `first` to `last`, and their master. */
export interface SlotRange {
  readonly first: number;
  readonly last: number;
  readonly master: RedisTarget;
}

/**
 * What CLUSTER SLOTS answered: `[first, last, [host, port, ...], ...replicas]` for each range. Nodes are reached
 * as `asked` was. RedisFailure for anything else, where it names too many masters, and where it knows of no slots, as a node that was started anew.
 */
export function slotMapOf(reply: unknown, asked: RedisTarget): readonly SlotRange[] {
  if (!Array.isArray(reply) || !reply.every(isRange)) throw new RedisFailure("protocol", `${nameOf(asked)} sent no map of slots`);
  if (reply.length === 0) throw new RedisFailure("refused", `${nameOf(asked)} knows of no slots`);
  const ranges = reply.map(([first, last, [host, port]]) => ({ first, last, master: atNode(asked, host, port) }));
  const masters = new Set(ranges.map(({ master }) => nameOf(master))).size;
  if (masters > MASTERS_MAX) throw new RedisFailure("protocol", `${nameOf(asked)} names ${masters} masters, more than ${MASTERS_MAX}`);
  return ranges;
}

type RangeReply = readonly [first: number, last: number, master: readonly [host: string | null, port: number, ...rest: unknown[]]];

function isRange(range: unknown): range is RangeReply {
  if (!Array.isArray(range) || !Array.isArray(range[2])) return false;
  const [first, last, [host, port]] = range;
  return isSlot(first) && isSlot(last) && first <= last && (host === null || typeof host === "string") && isPort(port);
}
