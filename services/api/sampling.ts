import type { JobRequest } from "../shared/bus/events.ts";
import type { Random } from "../shared/runtime/random.ts";
import { invalid } from "./errors.ts";
import type { ServedModel } from "./model.ts";
import type { GenerationRequest } from "./requests.ts";

type Sampling = JobRequest["sampling"];

const U64 = 1n << 64n;

/** How answer `index` of a request is drawn. What the request does not say is the model's; answer i of seed s is answer 0 of seed s + i. */
export function samplingOf(generation: GenerationRequest, model: ServedModel, random: Random, index: number): Sampling {
  const { temperature, top_p, top_k, min_p, seed, presence_penalty, frequency_penalty } = generation;
  return {
    temperature: temperature ?? model.sampling.temperature,
    topP: top_p ?? model.sampling.topP,
    topK: Math.max(top_k ?? 0, 0),
    minP: min_p ?? 0,
    seed: seed === undefined ? (BigInt(random.u32()) << 32n) | BigInt(random.u32()) : (((BigInt(seed) + BigInt(index)) % U64) + U64) % U64,
    ...(presence_penalty && { presencePenalty: presence_penalty }),
    ...(frequency_penalty && { frequencyPenalty: frequency_penalty }),
    ...biasOf(generation, model),
    ...topLogprobsOf(generation),
  };
}

function biasOf({ logit_bias = {} }: GenerationRequest, { vocabSize, name }: ServedModel): Pick<Sampling, "bias"> {
  const ids = Object.keys(logit_bias).map(Number);
  const unknown = ids.find((id) => id >= vocabSize);
  if (unknown !== undefined) throw invalid("logit_bias", `${unknown} is not a token of ${name}`);
  return ids.length === 0 ? {} : { bias: { ids, values: Object.values(logit_bias) } };
}

/** Completions name a number, chats say yes and the number beside it. */
function topLogprobsOf({ logprobs = false, top_logprobs }: GenerationRequest): Pick<Sampling, "topLogprobs"> {
  if (logprobs === false) {
    if (top_logprobs === undefined) return {};
    throw invalid("top_logprobs", "needs logprobs to be true");
  }
  return { topLogprobs: logprobs === true ? (top_logprobs ?? 0) : logprobs };
}
