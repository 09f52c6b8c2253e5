import type { Clock } from "../runtime/clock.ts";

/** Chunk sizes are multiples of this many tokens, so that chunks end where segments and index blocks may. */
const STEP = 128;
/** Tokens of a worker's first chunk: small, because its cost is not known yet. */
const FIRST = 256;

/** The chunk size `fill` uses, adapted to the layer times it reports. */
export interface ChunkSizes {
  readonly next: number;
  /** A chunk of `tokens` has finished `layersDone` of its `layers`. */
  onLayer(tokens: number, layersDone: number, layers: number): void;
}

export const always = (tokens: number): ChunkSizes => ({ next: tokens, onLayer: () => {} });

interface ChunkSizeOptions {
  readonly clock: Clock;
  readonly tokensMax: number;
  /** The longest a chunk should take. */
  readonly chunkMs: number;
}

/**
 * The largest chunk expected to fit `chunkMs` at the last chunk's cost per token. Larger chunks read the weights fewer
 * times, but a worker that is killed loses a chunk, and one told to stop finishes it first. Cost grows along a prompt,
 * so every chunk is measured, from the end of its first layer to the end of its last: before that it may have waited
 * for another job's chunk.
 */
export class ChunkSize implements ChunkSizes {
  readonly #options: ChunkSizeOptions;
  #next: number;
  #firstLayerMs = 0;

  constructor(options: ChunkSizeOptions) {
    this.#options = options;
    this.#next = Math.min(FIRST, options.tokensMax);
  }

  get next(): number {
    return this.#next;
  }

  onLayer(tokens: number, layersDone: number, layers: number): void {
    const { clock, tokensMax, chunkMs } = this.#options;
    if (layersDone === 1) this.#firstLayerMs = clock.monotonicMs();
    if (layersDone !== layers) return;
    const ms = layers === 1 ? 0 : ((clock.monotonicMs() - this.#firstLayerMs) * layers) / (layers - 1);
    const fits = ms === 0 ? tokensMax : Math.floor((tokens * chunkMs) / ms / STEP) * STEP;
    this.#next = Math.min(tokensMax, Math.max(STEP, Math.min(fits, 2 * this.#next)));
  }
}
