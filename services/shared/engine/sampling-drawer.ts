import type { Allowed, Drawn, Sampling } from "./engine.ts";
import { BANNED, Sampler } from "./sampling.ts";
import { logprobs } from "./sampling-logprobs.ts";

/** Draws a sequence's next token as its request wants it. One object per thread; it owns the scratch. */
export class Drawer {
  readonly #sampler: Sampler;
  readonly #adjusted: Float32Array;

  constructor(vocabSize: number) {
    this.#sampler = new Sampler(vocabSize);
    this.#adjusted = new Float32Array(vocabSize);
  }

  /** `answer`: the ids before `position` that penalties count. `allowed`: absent, all. Throws INTERNAL for a logit that is not finite. */
  draw(logits: Float32Array, sampling: Sampling, position: number, answer: ArrayLike<number> = [], allowed?: Allowed): Drawn {
    const adjusted = this.#adjust(logits, sampling, answer);
    const token = this.#sampler.sample(allowed === undefined ? adjusted : this.#ban(adjusted, allowed), sampling, position);
    if (sampling.topLogprobs === undefined) return { token };
    return { token, logprobs: logprobs(logits, token, sampling.topLogprobs, position) };
  }

  #adjust(logits: Float32Array, sampling: Sampling, answer: ArrayLike<number>): Float32Array {
    const { bias, presencePenalty = 0, frequencyPenalty = 0 } = sampling;
    if (bias === undefined && !penalises(sampling)) return logits;
    const adjusted = this.#adjusted;
    adjusted.set(logits);
    bias?.ids.forEach((id, i) => {
      adjusted[id]! += bias.values[i]!;
    });
    if (penalises(sampling)) for (const [id, times] of countsOf(answer)) adjusted[id]! -= presencePenalty + frequencyPenalty * times;
    return adjusted;
  }

  /** A logit that is not finite stays, so that it is noticed. */
  #ban(logits: Float32Array, allowed: Allowed): Float32Array {
    const adjusted = this.#adjusted;
    for (let id = 0; id < logits.length; id++) {
      const logit = logits[id]!;
      adjusted[id] = ((allowed[id >>> 5]! >>> (id & 31)) & 1) === 1 || !Number.isFinite(logit) ? logit : BANNED;
    }
    return adjusted;
  }
}

/** Whether a draw depends on the answer before it. */
export const penalises = ({ presencePenalty = 0, frequencyPenalty = 0 }: Sampling): boolean =>
  presencePenalty !== 0 || frequencyPenalty !== 0;

function countsOf(ids: ArrayLike<number>): ReadonlyMap<number, number> {
  const counts = new Map<number, number>();
  for (let i = 0; i < ids.length; i++) counts.set(ids[i]!, (counts.get(ids[i]!) ?? 0) + 1);
  return counts;
}
