/** Ends of earlier answers that are looked for, latest first. */
const ANSWER_ENDS_MAX = 4;

interface Places {
  /** Boundaries at or before this position save nothing. */
  readonly low: number;
  readonly high: number;
  /** One was stored after every so many tokens. */
  readonly every: number;
  /** Ids that end an answer. */
  readonly endings: readonly number[];
  /** Where a worker that handed this job back may have left one. */
  readonly left: number | null;
}

/**
 * Where earlier jobs may have left a boundary of this context, latest first: at `high`, where a prompt ended that is continued now; right
 * before an id that ended an answer, for the next turn of its chat; where this job was handed back; and every so many tokens.
 */
export function boundaryPlaces(ids: Int32Array, { low, high, every, endings, left: handedBack }: Places): number[] {
  const places = new Set<number>();
  if (high > low) places.add(high);
  if (handedBack !== null && handedBack > low && handedBack < high) places.add(handedBack);
  let left = ANSWER_ENDS_MAX;
  for (let at = high; at > low && left > 0; at--) {
    if (!endings.includes(ids[at] ?? -1)) continue;
    places.add(at);
    left--;
  }
  for (let at = high - (high % every); at > low; at -= every) places.add(at);
  return [...places].sort((a, b) => b - a);
}
