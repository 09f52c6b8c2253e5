import { forward } from "../../services/shared/engine/forward/forward.ts";
import type { Means, Tap } from "../../services/shared/engine/forward/run.ts";
import { createBuffer, ints, type NativeBuffer } from "../../services/shared/engine/kernels.ts";
import { createSequence, freeSequence, type Sequence, sealedSince } from "../../services/shared/engine/sequence.ts";
import { type Random, seededRandom } from "../../services/shared/runtime/random.ts";
import { openMeans } from "../support/bare-means.ts";
import { secondsOf } from "./bench.ts";
import { type Profiled, profiled } from "./profile.ts";

const SEGMENT_TOKENS = 512;
const PAGE_BYTES = 4_096;
const PIECE_BYTES = 2 ** 30;

/** A model's forward pass without the engine around it, on sequences of random tokens. */
export class Slice {
  readonly path: string;
  readonly #means: Means;
  readonly #random: Random = seededRandom(1);
  readonly #close: () => void;

  constructor(folder: string, options: { readonly threads: number; readonly chunk: number; readonly batch: number }) {
    const { threads, chunk: rowsMax, batch: logitRows } = options;
    const { means, path, close } = openMeans(folder, { mode: "serving", segmentTokens: SEGMENT_TOKENS, threads, rowsMax, logitRows });
    this.path = path;
    this.#means = means;
    this.#close = close;
  }

  /** Looks at every page of the weights once, as whoever serves for a while has: a first look costs what no later one does, and steps of random tokens meet ever new experts. */
  touch(): number {
    const { buffer } = this.#means.model.weights.embed;
    let sum = 0;
    for (let at = 0; at < buffer.size; at += PIECE_BYTES) {
      const piece = buffer.view(at, Math.min(PIECE_BYTES, buffer.size - at));
      for (let i = 0; i < piece.length; i += PAGE_BYTES) sum += piece[i]!;
    }
    return sum;
  }

  /** Pages of a context of `tokens` tokens. Entries are those of one computed segment; index keys are random, as no two of a real context are equal. */
  pages(tokens: number): NativeBuffer[] {
    const sequence = this.open([]);
    this.#feed([sequence], SEGMENT_TOKENS, this.#means);
    const { payload } = sealedSince(sequence, 0)[0]!;
    freeSequence(sequence);
    const pages = Array.from({ length: tokens / SEGMENT_TOKENS }, () => this.#like(payload));
    payload.release();
    return pages;
  }

  /** Continues behind `pages` with an empty window. */
  open(pages: readonly NativeBuffer[]): Sequence {
    const { config, layout } = this.#means.model;
    const position = pages.length * SEGMENT_TOKENS;
    const shared = pages.map((page) => page.retain());
    return createSequence(config, layout, shared, { position, first: position, exactFrom: position });
  }

  /** Seconds of a call that runs `tokens` tokens of each sequence; of steps (1 token) also the logits. */
  async seconds(sequences: readonly Sequence[], tokens: number): Promise<number> {
    return secondsOf(() => this.#feed(sequences, tokens, this.#means));
  }

  /** The same call with each operation timed alone, and the routed experts of each layer. */
  profile(sequences: readonly Sequence[], tokens: number): { readonly time: Profiled; readonly experts: readonly number[] } {
    const time = profiled(this.#means.ops);
    const experts: number[] = [];
    const tap: Tap = {
      see: (name, _, value) => {
        if (name === "route_ids") experts.push(new Set(ints(value)).size);
      },
      scores: () => null,
    };
    this.#feed(sequences, tokens, { ...this.#means, ops: time.ops, tap });
    return { time, experts };
  }

  close(): void {
    this.#close();
  }

  #feed(sequences: readonly Sequence[], tokens: number, means: Means): void {
    const ids = () => Int32Array.from({ length: tokens }, () => this.#random.u32() % means.model.config.vocab);
    const wanted = tokens === 1 ? Int32Array.from(sequences.keys()) : new Int32Array();
    forward(
      means,
      sequences.map((sequence) => ({ sequence, ids: ids() })),
      { wanted },
    );
  }

  #like(payload: NativeBuffer): NativeBuffer {
    const page = createBuffer(payload.size);
    page.bytes.set(payload.bytes);
    const { layers, keyBytes } = this.#means.model.layout;
    const codes = this.#means.model.config.indexDim / 2; // of each key; its scales follow
    for (const { keys } of layers) {
      for (let row = 0; keys !== null && row < keys.rows; row++) {
        const at = keys.offset + row * keyBytes;
        for (let i = at; i < at + codes; i++) page.bytes[i] = this.#random.u32();
      }
    }
    return page;
  }
}
