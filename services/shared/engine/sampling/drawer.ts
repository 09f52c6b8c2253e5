import type { Allowed, Drawn, Sampling, StepInput } from "../engine.ts";
import { logprobs } from "./logprobs.ts";
import { BANNED, Sampler } from "./sampling.ts";

/** Draws a sequence's next token as its request asks. One object per thread: it owns the scratch memory. */
export class Drawer {
  readonly #sampler: Sampler;
  readonly #adjusted: Float32Array;

  constructor(vocabSize: number) {
    this.#sampler = new Sampler(vocabSize);
    this.#adjusted = new Float32Array(vocabSize);
  }

  /**
   * `counts`: tokens of the answer before `position`. `allowed` absent: all. Throws INTERNAL for a non-finite logit.
   */
  draw(logits: Float32Array, sampling: Sampling, position: number, counts: Counts = NONE, allowed?: Allowed): Drawn {
    const adjusted = this.#adjust(logits, sampling, counts);
    const token = this.#sampler.sample(allowed === undefined ? adjusted : this.#ban(adjusted, allowed), sampling, position);
    if (sampling.topLogprobs === undefined) return { token };
    return { token, logprobs: logprobs(logits, token, sampling.topLogprobs, position) };
  }

  #adjust(logits: Float32Array, sampling: Sampling, counts: Counts): Float32Array {
    const { bias, presencePenalty = 0, frequencyPenalty = 0 } = sampling;
    if (bias === undefined && !penalises(sampling)) return logits;
    const adjusted = this.#adjusted;
    adjusted.set(logits);
    bias?.ids.forEach((id, i) => {
      adjusted[id]! += bias.values[i]!;
    });
    if (penalises(sampling)) for (const [id, times] of counts) adjusted[id]! -= presencePenalty + frequencyPenalty * times;
    return adjusted;
  }

  /** Keeps a logit that is not finite, so that the sampler refuses it. */
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

/**
 * How often each token occurs in an answer, for its penalties. Lives with the sequence
 * and grows with its steps, so that no step reads the whole answer again. No boundary
 * holds it: whoever continues a sequence passes the answer with its first step.
 */
type Counts = ReadonlyMap<number, number>;

const NONE: Counts = new Map();

/** Undoes the last count of `token`, whose run was rolled back. */
export function uncount(counts: Map<number, number>, { token, sample }: Pick<StepInput, "token" | "sample">): void {
  if (!penalises(sample)) return;
  const left = counts.get(token)! - 1;
  if (left > 0) counts.set(token, left);
  else counts.delete(token);
}

/** Counts what a step feeds: the whole answer if it is given, else one more token. */
export function count(counts: Map<number, number>, { token, sample, answer }: Pick<StepInput, "token" | "sample" | "answer">): void {
  if (!penalises(sample)) return;
  if (answer !== undefined) counts.clear();
  for (const id of answer ?? [token]) counts.set(id, (counts.get(id) ?? 0) + 1);
}
