/** How many ends of earlier answers are tried, the latest first. */
const ANSWER_ENDS_MAX = 4;

interface Places {
  /** Boundaries at or before this position save nothing. */
  readonly low: number;
  readonly high: number;
  /** Tokens between periodic boundaries. */
  readonly every: number;
  /** Ids that end an answer. */
  readonly endings: readonly number[];
  /** Position at which a worker that handed this job back may have stored a boundary. */
  readonly left: number | null;
}

/**
 * Positions at which earlier jobs may have stored a boundary of this context, latest first: `high`, the end of a prompt
 * that continues here; just before an id that ended an answer, where the chat's next turn continues; where this job was
 * handed back; and every `every` tokens.
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
