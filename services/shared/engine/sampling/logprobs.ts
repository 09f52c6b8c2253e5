import type { TokenLogprobs } from "../engine.ts";
import { argmax } from "./sampling.ts";

/** The most alternatives a request may ask for. */
export const TOP_LOGPROBS_MAX = 20;

/**
 * Log-softmax in float64 of the chosen token and of the `top` most likely, best first, ties by id.
 * Throws INTERNAL for logits that are not finite.
 */
export function logprobs(logits: Float32Array, chosen: number, top: number, position: number): TokenLogprobs {
  const max = logits[argmax(logits, position)]!;
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - max);
  const norm = max + Math.log(sum);
  const logprob = (id: number) => logits[id]! - norm;
  return { logprob: logprob(chosen), top: best(logits, Math.min(top, TOP_LOGPROBS_MAX)).map((id) => ({ id, logprob: logprob(id) })) };
}

function best(logits: Float32Array, count: number): number[] {
  const ids: number[] = [];
  for (let id = 0; id < logits.length; id++) {
    if (ids.length === count && !(count > 0 && logits[id]! > logits[ids[count - 1]!]!)) continue;
    let place = ids.length;
    while (place > 0 && logits[id]! > logits[ids[place - 1]!]!) place--;
    ids.splice(place, 0, id);
    if (ids.length > count) ids.pop();
  }
  return ids;
}
