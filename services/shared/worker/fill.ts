import type { Allowed, ChunkResult, Engine, Opened, Sampling } from "../engine/engine.ts";
import type { ChunkSizes } from "./chunk-size.ts";
import type { Context } from "./context.ts";
import type { HeldJob } from "./held-job.ts";

interface Filling {
  readonly job: HeldJob;
  readonly engine: Engine;
  readonly context: Context;
  /** Where the sequence stands. */
  readonly opened: Opened;
  readonly chunks: ChunkSizes;
  readonly boundaryTokens: number;
  readonly cached: number;
  /** With the last chunk, draws the token that follows. */
  readonly sample?: Sampling;
  readonly allowed?: Allowed | undefined;
  /** Called with every layer done. */
  readonly onLayer: () => void;
  /** Called before each chunk with where it begins and ends. */
  readonly onChunk?: (from: number, to: number) => Promise<void>;
}

/** What the last chunk drew. */
export type Filled = Omit<ChunkResult, "sealed">;

/**
 * Computes the rest of the context chunk by chunk, storing each segment the moment it is complete while the next chunk is computed.
 * Cancel and deadline are noticed within one layer, the end of the worker after the chunk. Resolves to what was drawn.
 */
export async function fill(filling: Filling): Promise<Filled> {
  const { job, engine, context, boundaryTokens, onLayer } = filling;
  const { sequence, exactFrom } = filling.opened;
  const { ids } = context;
  let drawn: Filled = { token: null };
  let { position } = filling.opened;
  while (position < ids.length) {
    if (job.leaving && position >= exactFrom) await leaveAt(filling, position);
    job.check();
    const from = position;
    const to = Math.min(from + filling.chunks.next, ids.length, from - (from % boundaryTokens) + boundaryTokens);
    await filling.onChunk?.(from, to);
    const onProgress = (layersDone: number, layers: number) => {
      const done = from + Math.floor(((to - from) * layersDone) / layers);
      job.progress({ done, total: ids.length, cached: filling.cached });
      filling.chunks.onLayer(to - from, layersDone, layers);
      onLayer();
    };
    const { sample, allowed }: Pick<Filling, "sample" | "allowed"> = to === ids.length ? filling : {};
    const { sealed, ...end } = await engine.prefill(sequence, ids.slice(from, to), { sample, allowed, onProgress, signal: job.signal });
    position = to;
    drawn = end;
    for (const segment of sealed) context.keep(segment);
    // A boundary in the middle of a replay would have half its windows.
    if (position >= exactFrom && position % boundaryTokens === 0 && position < ids.length)
      context.keepBoundary(position, await engine.boundary(sequence));
    await context.caughtUp();
  }
  return drawn;
}

/** Whoever goes on with the job finds in its log where this worker stood, and there in the store a boundary: nothing is computed again. */
async function leaveAt({ job, engine, context, opened, cached }: Filling, position: number): Promise<void> {
  context.keepBoundary(position, await engine.boundary(opened.sequence));
  await job.tell({ done: position, total: context.ids.length, cached });
}
