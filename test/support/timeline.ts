import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { writeBoundary } from "../../services/shared/engine/boundary.ts";
import { forward } from "../../services/shared/engine/forward/forward.ts";
import type { Feed } from "../../services/shared/engine/forward/prepare.ts";
import type { Means } from "../../services/shared/engine/forward/run.ts";
import { listPaths } from "../../services/shared/engine/kernels.ts";
import { type Continuation, createSequence, freeSequence, type Sequence } from "../../services/shared/engine/sequence.ts";
import { joined } from "../../services/shared/runtime/joined.ts";
import { openMeans } from "./bare-means.ts";
import { readSafetensors } from "./safetensors.ts";

export const goldenFolder = (name: string): string => fileURLToPath(new URL(`../golden/data/${name}`, import.meta.url));

export const availablePaths = (): string[] => listPaths().flatMap(({ name, available }) => (available ? [name] : []));

/** Paths in plain C++, a hundred times slower than the others. */
export const slowPaths = ["reference", "portable", "portablebf16", "portableamx"];

export const goldenIds = (name: string): Int32Array =>
  Int32Array.from(readSafetensors(`${goldenFolder(name)}/golden.safetensors`).get("ids")!.values);

interface TimelineOptions {
  readonly mode: "exact" | "serving";
  readonly kernelPath: string;
  readonly segmentTokens: number;
  readonly rowsMax: number;
  readonly threads?: number;
}

/**
 * The forward pass without the engine around it: sequences that a test can open anywhere, and the logits of every row.
 */
export class Timelines {
  readonly means: Means;
  readonly #sequences: Sequence[] = [];
  readonly #close: () => void;

  constructor(golden: string, { mode, kernelPath, segmentTokens, rowsMax, threads = 2 }: TimelineOptions) {
    const { means, close } = openMeans(goldenFolder(golden), { mode, kernelPath, segmentTokens, rowsMax, logitRows: rowsMax, threads });
    this.means = means;
    this.#close = close;
  }

  /** A sequence over the first `segments` pages of another one. */
  open(at: Continuation = { position: 0, first: 0, exactFrom: 0 }, from?: Sequence, segments = 0): Sequence {
    const { config, layout } = this.means.model;
    const shared = from?.pages.slice(0, segments).map((page) => page.retain()) ?? [];
    const sequence = createSequence(config, layout, shared, at);
    this.#sequences.push(sequence);
    return sequence;
  }

  /** Logits of every row of one call. */
  feed(...feeds: Feed[]): Float32Array {
    const rows = feeds.reduce((sum, { ids }) => sum + ids.length, 0);
    return forward(this.means, feeds, { wanted: Int32Array.from({ length: rows }, (_, row) => row) });
  }

  /** Logits of every position, fed in chunks of the given lengths (the last one repeats). */
  run(sequence: Sequence, ids: Int32Array, ...lengths: number[]): Float32Array {
    const pieces: Float32Array[] = [];
    for (let at = 0, i = 0; at < ids.length; i++) {
      const length = lengths[Math.min(i, lengths.length - 1)] ?? ids.length;
      pieces.push(this.feed({ sequence, ids: ids.subarray(at, at + length) }));
      at += length;
    }
    return joined(Float32Array, pieces);
  }

  boundary(sequence: Sequence): { position: number; bytes: Uint8Array } {
    return { position: sequence.position, bytes: writeBoundary(sequence) };
  }

  release(): void {
    for (const sequence of this.#sequences.splice(0)) freeSequence(sequence);
    this.#close();
  }
}

/** A digest of the logits of rows from `from` on: equal digests are equal bits. */
export const bitsFrom = (logits: Float32Array, vocab: number, from = 0): string =>
  digest(new Uint8Array(logits.buffer, logits.byteOffset + from * vocab * 4, logits.byteLength - from * vocab * 4));

export const digest = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
