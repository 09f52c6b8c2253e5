import type { Drawn, Sampling } from "./engine.ts";
import { Sampler } from "./sampling.ts";
import { logprobs } from "./sampling-logprobs.ts";

/** Draws a sequence's next token as its request wants it. One object per thread; it owns the scratch. */
export class Drawer {
  readonly #sampler: Sampler;
  readonly #adjusted: Float32Array;

  constructor(vocabSize: number) {
    this.#sampler = new Sampler(vocabSize);
    this.#adjusted = new Float32Array(vocabSize);
  }

  /** `answer`: the ids before `position` that penalties count. Throws INTERNAL for a logit that is not finite. */
  draw(logits: Float32Array, sampling: Sampling, position: number, answer: ArrayLike<number> = []): Drawn {
    const token = this.#sampler.sample(this.#adjust(logits, sampling, answer), sampling, position);
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
}

/** Whether a draw depends on the answer before it. */
export const penalises = ({ presencePenalty = 0, frequencyPenalty = 0 }: Sampling): boolean =>
  presencePenalty !== 0 || frequencyPenalty !== 0;

function countsOf(ids: ArrayLike<number>): ReadonlyMap<number, number> {
  const counts = new Map<number, number>();
  for (let i = 0; i < ids.length; i++) counts.set(ids[i]!, (counts.get(ids[i]!) ?? 0) + 1);
  return counts;
}
