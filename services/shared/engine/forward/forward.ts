import { floats } from "../kernels.ts";
import { backbone, logits } from "./model.ts";
import { type Feed, prepare } from "./prepare.ts";
import type { Means } from "./run.ts";

interface ForwardOptions {
  /** Rows of the call whose logits are wanted, counted over all feeds in order. */
  readonly wanted?: Int32Array;
  /** Called after each layer, at the price of one wait a layer. May throw to stop. */
  readonly onLayer?: ((layersDone: number) => void) | undefined;
}

/**
 * Runs the feeds' tokens and moves their sequences on: chunks, steps and mixtures of both. Returns the wanted logits,
 * F32 [wanted, vocab]. If it throws, the sequences of the call have lost their state and can only be freed.
 */
export function forward(means: Means, feeds: readonly Feed[], { wanted = new Int32Array(), onLayer }: ForwardOptions = {}): Float32Array {
  const { ops } = means;
  try {
    const run = prepare(means, feeds);
    const streams = backbone(run, (layersDone) => {
      if (onLayer === undefined) return;
      ops.wait();
      onLayer(layersDone);
    });
    const scores = wanted.length > 0 ? logits(run, streams, wanted) : null;
    ops.wait();
    for (const { sequence, count } of run.parts) sequence.position += count;
    return scores === null ? new Float32Array() : floats(scores);
  } catch (error) {
    clear(means);
    throw error;
  }
}

/** Operations called before the error still run, and a stream keeps its first error until a wait reports it. */
function clear({ ops }: Means): void {
  try {
    ops.wait();
  } catch {
    // The caller already has this error.
  }
}
