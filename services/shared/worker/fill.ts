import type { Allowed, ChunkResult, Engine, Opened, Sampling } from "../engine/engine.ts";
import type { ChunkSizes } from "./chunk-size.ts";
import type { Context } from "./context.ts";
import type { HeldJob } from "./held-job.ts";

interface Filling {
  readonly job: HeldJob;
  readonly engine: Engine;
  readonly context: Context;
  /** The open sequence, and the position to compute from. */
  readonly opened: Opened;
  readonly chunks: ChunkSizes;
  readonly boundaryTokens: number;
  readonly cached: number;
  /** If given, the last chunk also draws the token that follows. */
  readonly sample?: Sampling;
  readonly allowed?: Allowed | undefined;
  /** Called after every layer. */
  readonly onLayer: () => void;
  /** Called before each chunk with its token range, `to` exclusive. */
  readonly onChunk?: (from: number, to: number) => Promise<void>;
}

/** What the last chunk drew. */
export type Filled = Omit<ChunkResult, "sealed">;

/**
 * Computes the rest of the context chunk by chunk; each complete segment is stored while the next chunk is computed. A
 * cancel or deadline takes effect within one layer, a stop of the worker after the chunk. Resolves to what the last
 * chunk drew.
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
    // A boundary taken during a replay would have incomplete windows.
    if (position >= exactFrom && position % boundaryTokens === 0 && position < ids.length)
      context.keepBoundary(position, await engine.boundary(sequence));
    await context.caughtUp();
  }
  return drawn;
}

/** Stores a boundary at `position` and logs the position, so that the job's next worker computes nothing again. */
async function leaveAt({ job, engine, context, opened, cached }: Filling, position: number): Promise<void> {
  context.keepBoundary(position, await engine.boundary(opened.sequence));
  await job.tell({ done: position, total: context.ids.length, cached });
}
