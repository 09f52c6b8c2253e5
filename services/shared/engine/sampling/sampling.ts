import { ServingError } from "../../runtime/errors.ts";
import type { Sampling } from "../engine.ts";
import { drawBits } from "./draw.ts";

/**
 * Draws tokens from logits. One object per thread: it owns the scratch memory, so a draw allocates next to nothing.
 * Only the tokens around a cut are ever sorted.
 *
 * The rule, in this order (each step sees what the one before kept; "best first": higher logit, ties by lower id):
 *  1. temperature 0: the best token. Otherwise each token weighs exp((logit - max) / temperature), as a whole number of
 *     1 / scale.
 *  2. top_k: the k best.
 *  3. top_p: the fewest of the best that hold at least top_p of the weight.
 *  4. min_p: those of at least min_p of the best's weight. The best is always kept.
 *  5. the token at which the running sum of weights, by ascending id, passes the fraction of the total that the
 *     position's random bits name.
 *
 * Sums of whole numbers are exact, so no order of summation can move a cut.
 */
export class Sampler {
  /**
   * The weight of the best token: the largest for which the sum of all weights stays within 2^53. For 129,280 tokens it
   * is 2^36; a token whose weight rounds to 0 is never drawn.
   */
  readonly #scale: number;
  readonly #scratch: ReturnType<typeof scratchFor>;

  constructor(vocabSize: number) {
    this.#scale = 2 ** (53 - Math.ceil(Math.log2(vocabSize)));
    this.#scratch = scratchFor(vocabSize);
  }

  /**
   * The token at `position` (0-based, in the whole sequence).
   * Throws INTERNAL for a logit that is not finite, or if all tokens are BANNED.
   */
  sample(logits: Float32Array, sampling: Sampling, position: number): number {
    const vocabSize = this.#scratch.weights.length;
    if (logits.length !== vocabSize)
      throw new ServingError("INTERNAL", `${logits.length} logits at position ${position} instead of ${vocabSize}`);
    const best = argmax(logits, position);
    if (logits[best] === BANNED) throw new ServingError("INTERNAL", `no token may be drawn at position ${position}`);
    if (sampling.temperature === 0) return best;
    let total = this.#weigh(logits, logits[best]!, sampling.temperature);
    if (sampling.topK > 0 || sampling.topP < 1 || sampling.minP > 0) total = this.#filter(logits, sampling, total);
    return this.#pick(total, drawBits(sampling.seed, position));
  }

  /** Step 1. 2^x is computed in plain IEEE operations: weights must not depend on a machine's mathematics library. */
  #weigh(logits: Float32Array, max: number, temperature: number): number {
    const { weights, buckets } = this.#scratch;
    const scale = this.#scale;
    const octaves = Math.min(Math.LOG2E / temperature, Number.MAX_VALUE); // not infinite: the best is 0 octaves below itself at any temperature
    let total = 0;
    for (let id = 0; id < logits.length; id++) {
      const x = (logits[id]! - max) * octaves;
      if (x < -LOWEST || logits[id] === BANNED) {
        weights[id] = 0;
        continue;
      }
      const whole = Math.floor(x + 0.5);
      const weight = Math.floor(scale * powerOfTwo(x - whole) * NEGATIVE_POWERS[-whole]! + 0.5);
      weights[id] = weight;
      buckets[id] = -x * BUCKETS_PER_OCTAVE;
      total += weight;
    }
    return total;
  }

  /** Steps 2 to 4. Each keeps the first tokens in order, so the shortest prefix decides. All others get weight 0. */
  #filter(logits: Float32Array, { topK, topP, minP }: Sampling, total: number): number {
    const { weights, ordered } = this.#scratch;
    const size = this.#group();
    const count = topK > 0 ? topK : size;
    const held = topK > 0 && topP < 1 ? this.#first(logits, count, Number.POSITIVE_INFINITY, 0).sum : total;
    const kept = this.#first(logits, count, topP < 1 ? topP * held : Number.POSITIVE_INFINITY, minP);
    for (let i = kept.count; i < size; i++) weights[ordered[i]!] = 0;
    return kept.sum;
  }

  /**
   * Orders the ids by bucket, best first, ascending within; sums each bucket's weight. Returns how many have weight.
   */
  #group(): number {
    const { weights, buckets, ordered, starts, sums } = this.#scratch;
    starts.fill(0);
    sums.fill(0);
    for (let id = 0; id < weights.length; id++) {
      if (weights[id] === 0) continue;
      starts[buckets[id]! + 1]!++;
      sums[buckets[id]!]! += weights[id]!;
    }
    for (let bucket = 0; bucket < BUCKETS; bucket++) starts[bucket + 1]! += starts[bucket]!;
    for (let id = 0; id < weights.length; id++) if (weights[id] !== 0) ordered[starts[buckets[id]!]!++] = id;
    starts.copyWithin(1, 0, BUCKETS); // the loop above moved each start to its bucket's end
    starts[0] = 0;
    return starts[BUCKETS]!;
  }

  /**
   * The first tokens in order:
   * at most `count`, as few as reach the weight `enough`, each of at least `minP` of the best's weight. At least one.
   */
  #first(logits: Float32Array, count: number, enough: number, minP: number): { count: number; sum: number } {
    const { weights, ordered, starts, sums } = this.#scratch;
    const least = minP * this.#scale;
    const surely = Math.floor(-Math.log2(minP) * BUCKETS_PER_OCTAVE) - 1; // buckets before this one weigh more than `least`
    let taken = 0;
    let sum = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      const end = starts[bucket + 1]!;
      if (end <= count && sum + sums[bucket]! < enough && bucket < surely) {
        taken = end;
        sum += sums[bucket]!;
        continue;
      }
      ordered.subarray(starts[bucket], end).sort((a, b) => logits[b]! - logits[a]! || a - b);
      for (; taken < end; taken++) {
        const weight = weights[ordered[taken]!]!;
        if (taken > 0 && (taken >= count || sum >= enough || weight < least)) return { count: taken, sum };
        sum += weight;
      }
    }
    return { count: taken, sum };
  }

  /** Step 5. */
  #pick(total: number, bits: bigint): number {
    const { weights } = this.#scratch;
    let left = Number((bits * BigInt(total)) >> 64n);
    for (let id = 0; id < weights.length; id++) {
      left -= weights[id]!;
      if (left < 0) return id;
    }
    throw new ServingError("INTERNAL", "the weights do not add up to their total");
  }
}

const scratchFor = (vocabSize: number) => ({
  weights: new Float64Array(vocabSize),
  buckets: new Uint16Array(vocabSize),
  /** Ids with weight, by bucket. */
  ordered: new Int32Array(vocabSize),
  starts: new Int32Array(BUCKETS + 1),
  sums: new Float64Array(BUCKETS),
});

/** The best token, ties by lower id. Throws INTERNAL for a logit that is not finite. */
export function argmax(logits: Float32Array, position: number): number {
  let best = 0;
  for (let id = 0; id < logits.length; id++) {
    const logit = logits[id]!;
    if (!Number.isFinite(logit)) throw new ServingError("INTERNAL", `logit ${id} at position ${position} is ${logit}`);
    if (logit > logits[best]!) best = id;
  }
  return best;
}

/** The logit of a token that must not be drawn, at any temperature: the lowest finite float32. */
export const BANNED = -(2 - 2 ** -23) * 2 ** 127;

/** This many octaves below the best, a weight is 0 at any scale. */
const LOWEST = 55;
/** Tokens whose weights differ by less than this share a bucket; only the buckets at a cut are sorted. */
const BUCKETS_PER_OCTAVE = 64;
const BUCKETS = LOWEST * BUCKETS_PER_OCTAVE + 1;

const NEGATIVE_POWERS = Float64Array.from({ length: LOWEST + 2 }, (_, i) => 2 ** -i);

/** 2^x for |x| <= 1/2: Taylor series to x^12, accurate to 1e-14. */
function powerOfTwo(x: number): number {
  const y = x * Math.LN2;
  let sum = 1 / 479001600;
  sum = sum * y + 1 / 39916800;
  sum = sum * y + 1 / 3628800;
  sum = sum * y + 1 / 362880;
  sum = sum * y + 1 / 40320;
  sum = sum * y + 1 / 5040;
  sum = sum * y + 1 / 720;
  sum = sum * y + 1 / 120;
  sum = sum * y + 1 / 24;
  sum = sum * y + 1 / 6;
  sum = sum * y + 1 / 2;
  return (sum * y + 1) * y + 1;
}
