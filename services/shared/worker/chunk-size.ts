import type { Clock } from "../runtime/clock.ts";

/** Chunks are cut where segments and index blocks may be. */
const STEP = 128;
/** Of the first chunk of a worker: small, because nobody knows yet how long it takes. */
const FIRST = 256;

/** How many tokens `fill` computes together, and what it learns from them. */
export interface ChunkSizes {
  readonly next: number;
  /** `tokens` are being computed, and `layersDone` of their `layers` are done. */
  onLayer(tokens: number, layersDone: number, layers: number): void;
}

export const always = (tokens: number): ChunkSizes => ({ next: tokens, onLayer: () => {} });

interface ChunkSizeOptions {
  readonly clock: Clock;
  readonly tokensMax: number;
  /** How long a chunk should take at most. */
  readonly chunkMs: number;
}

/**
 * The largest chunk that takes no longer than it should, at what the last one cost: the larger, the fewer times weights are read; but whoever
 * is killed loses a chunk, and whoever is told to stop finishes one. Costs grow along a prompt, so each chunk is measured. The time from the
 * first layer's end to the last's counts: before that the chunk may have waited for another job's.
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
