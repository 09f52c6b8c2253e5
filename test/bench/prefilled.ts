import type { Engine, Sampling, SequenceId } from "../../services/shared/engine/engine.ts";
import { secondsOf } from "./bench.ts";

export const greedy: Sampling = { temperature: 0, topP: 1, topK: 0, minP: 0, seed: 0n };

interface Prefilled {
  readonly sequence: SequenceId;
  /** The first of the answer. */
  readonly token: number;
  readonly seconds: number;
}

/** Runs a prompt from nothing. `onChunk` is told how many of its tokens were done before each chunk. */
export async function prefilled(engine: Engine, ids: Int32Array, onChunk?: (done: number) => void): Promise<Prefilled> {
  const { chunkTokens } = engine.info;
  const { sequence } = await engine.open({ segments: [], boundary: null });
  let drawn = 0;
  const seconds = await secondsOf(async () => {
    for (let at = 0; at < ids.length; at += chunkTokens) {
      const last = at + chunkTokens >= ids.length;
      const { token, sealed } = await engine.prefill(sequence, ids.slice(at, at + chunkTokens), last ? { sample: greedy } : {});
      for (const { payload } of sealed) payload.release();
      drawn = token ?? drawn;
      onChunk?.(at);
    }
  });
  return { sequence, token: drawn, seconds };
}
