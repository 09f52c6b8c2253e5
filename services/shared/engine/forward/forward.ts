import { floats } from "../kernels.ts";
import { backbone, logits } from "./model.ts";
import { type Feed, prepare } from "./prepare.ts";
import type { Means } from "./run.ts";

interface ForwardOptions {
  /** Rows of the call, feeds one after the other, whose logits are wanted. */
  readonly wanted?: Int32Array;
  /** After each layer. May throw to stop; its price is one wait a layer. */
  readonly onLayer?: ((layersDone: number) => void) | undefined;
}

/**
 * Runs the feeds' tokens and moves their sequences on: chunks, steps and mixtures of both. Returns the wanted logits, F32 [wanted, vocab].
 * Where it throws, the sequences of the call have lost their state and can only be freed.
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

/** What was called before the error still runs, and a stream keeps its first error until it was told at a wait. */
function clear({ ops }: Means): void {
  try {
    ops.wait();
  } catch {
    // The same error, known to the caller already.
  }
}
