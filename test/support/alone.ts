import type { JobRequest } from "../../services/shared/bus/events.ts";
import type { Drawn, TokenLogprobs } from "../../services/shared/engine/engine.ts";
import type { Grammars } from "../../services/shared/engine/grammar/grammars.ts";
import type { WeightlessOptions } from "../../services/shared/engine/weightless/options.ts";
import { openWeightlessEngine } from "../../services/shared/engine/weightless/weightless.ts";
import { engineOptions, grammars, letter } from "./model.ts";
import { stepped } from "./stepped.ts";

export interface Alone {
  readonly ids: number[];
  readonly reason: string;
  readonly logprobs: (TokenLogprobs | undefined)[];
}

/** The engine's answer by itself: one token after the other, from nothing, without bus and store. */
export async function alone(
  request: JobRequest,
  options: WeightlessOptions = engineOptions,
  follow: Grammars["follow"] = (constraint) => grammars.follow(constraint),
): Promise<Alone> {
  const engine = openWeightlessEngine({ ...options, chunkMs: 0, stepMs: 0, turn: async () => {} });
  const prompt = (request.prompt as { ids: Int32Array }).ids;
  const { sequence } = await engine.open({ segments: [], boundary: null });
  const sample = request.sampling;
  const following = request.constraint === undefined ? null : follow(request.constraint);
  const among = async () => (await following?.allowed(ids)) ?? null;
  const ids: number[] = [];
  const logprobs: (TokenLogprobs | undefined)[] = [];
  let drawn: Drawn = { token: -1 };
  for (let at = 0; at < prompt.length; at += 64) {
    const { token, ...more } = await engine.prefill(sequence, prompt.slice(at, at + 64), { sample, allowed: (await among()) ?? undefined });
    drawn = { ...more, token: token! };
  }
  for (;;) {
    const { token } = drawn;
    if (request.stopIds.includes(token)) return { ids, logprobs, reason: "stop" };
    ids.push(token);
    logprobs.push(drawn.logprobs);
    if (request.stop.some((stop) => ids.map(letter).join("").includes(stop))) return { ids, logprobs, reason: "stop" };
    if (ids.length === request.maxTokens || prompt.length + ids.length === engine.info.contextTokens)
      return { ids, logprobs, reason: "length" };
    drawn = stepped((await engine.step([{ sequence, token, sample, answer: Int32Array.from(ids), allowed: [await among()] }]))[0]);
  }
}
