import { openCheckpoint } from "../../../services/shared/engine/checkpoint/open.ts";
import { attention } from "../../../services/shared/engine/forward/attention.ts";
import { backbone, head, logits, wantedRows } from "../../../services/shared/engine/forward/model.ts";
import { mixtureOfExperts } from "../../../services/shared/engine/forward/moe.ts";
import { mtpBlock } from "../../../services/shared/engine/forward/mtp.ts";
import { prepare } from "../../../services/shared/engine/forward/prepare.ts";
import type { Means, Run, Tap } from "../../../services/shared/engine/forward/run.ts";
import { createWorkspace } from "../../../services/shared/engine/forward/workspace.ts";
import {
  type Activation,
  type Backend,
  floats,
  from,
  ints,
  type NativeBuffer,
  openBackend,
  type Stream,
  type Tensor,
  upload,
  zeros,
} from "../../../services/shared/engine/kernels.ts";
import type { Block } from "../../../services/shared/engine/layout.ts";
import { type Model, placeModel } from "../../../services/shared/engine/model.ts";
import { createSequence, freeSequence, pageRows, type Sequence } from "../../../services/shared/engine/sequence.ts";
import { joined } from "../../../services/shared/runtime/joined.ts";

export interface ObservedOptions {
  readonly mode: "exact" | "serving";
  readonly plainKv: boolean;
  readonly kernelPath: string;
  /** Longest chunk. */
  readonly rowsMax: number;
}

/** A model of a golden folder on one path, and every tensor that passes through it. */
export class ObservedModel {
  readonly model: Model;
  readonly ops: Stream;
  /** `name.layer` -> what the tap saw last. */
  readonly seen = new Map<string, Float32Array>();
  readonly #means: Means;
  readonly #backend: Backend;
  readonly #scratch: NativeBuffer[] = [];
  readonly #sequences: Sequence[] = [];

  constructor(folder: string, { mode, plainKv, kernelPath, rowsMax }: ObservedOptions) {
    const checkpoint = openCheckpoint(folder);
    const segmentTokens = checkpoint.config.ratios.filter((ratio) => ratio > 0).reduce(leastCommonMultiple, 128);
    this.model = placeModel(checkpoint, { mode, plainKv, segmentTokens });
    this.#backend = openBackend({ path: kernelPath, threads: 2 });
    this.ops = this.#backend.createStream();
    const { config, layout, activation } = this.model;
    const work = createWorkspace(config, layout, activation, { rowsMax, logitRows: rowsMax, drafts: this.model.weights.mtp !== null });
    this.#means = { model: this.model, ops: this.ops, work, tap: this.#tap() };
  }

  /** A new sequence, with a window for the MTP block behind those of the layers. */
  sequence(): Sequence {
    const { config, layout } = this.model;
    const sequence = createSequence(config, layout, [], { position: 0, first: 0, exactFrom: 0 });
    const window = this.#scratchTensor("U8", [config.window, layout.rowBytes]);
    this.#sequences.push(sequence);
    return { ...sequence, layers: [...sequence.layers, { window, compressor: null, indexer: null }] };
  }

  /** Feeds the sequence. Logits F32 [ids, vocab] of all rows, and those of the MTP block, whose last row has no next token and means nothing. */
  feed(sequence: Sequence, ids: Int32Array): { logits: Float32Array; stream: Float32Array; mtpLogits: Float32Array | null } {
    const run = prepare(this.#means, [{ sequence, ids }]);
    const streams = backbone(run, () => {});
    const all = Int32Array.from(ids.keys());
    const ours = this.#read(logits(run, streams, all));
    const stream = this.#read(streams);
    const mtpLogits = this.#mtp(run, ids, streams, all);
    sequence.position += ids.length;
    return { logits: ours, stream, mtpLogits };
  }

  /** Feeds the sequence, for what is in it then. */
  advance(sequence: Sequence, ids: Int32Array): void {
    backbone(prepare(this.#means, [{ sequence, ids }]), () => {});
    this.ops.wait();
    sequence.position += ids.length;
  }

  /** The attention of one layer on given normed inputs [T, d], of a sequence that has nothing behind it. */
  attentionAlone(layer: number, x: Float32Array): Float32Array {
    return this.#alone(x, new Int32Array(x.length / this.model.config.hidden), (run, input, output) =>
      attention(run, layer, this.model.weights.layers[layer]!.attn, input, output),
    );
  }

  /** The feed-forward part of one layer on given normed inputs [T, d]. */
  expertsAlone(layer: number, x: Float32Array, ids: Int32Array): Float32Array {
    return this.#alone(x, ids, (run, input, output) =>
      mixtureOfExperts(run, layer, this.model.weights.layers[layer]!.moe, run.work.at("ids", [ids.length]), input, output),
    );
  }

  /** The first `count` rows of a block as floats, from the pages. */
  stored(sequence: Sequence, block: Block, kind: "entries" | "keys", count: number): Float32Array {
    const { config, layout } = this.model;
    const width = kind === "entries" ? config.headDim : config.indexDim;
    const pieces = pageRows(sequence, block, 0, count).map((packed) => {
      const rows = this.#scratchTensor("F32", [packed.shape[0]!, width]);
      if (kind === "entries") this.ops.kvUnpack({ entries: packed, rows, kvLayout: layout.kv, rope: config.rope });
      else this.ops.keyUnpack({ keys: packed, rows, keyLayout: layout.key });
      return this.#read(rows);
    });
    return joined(Float32Array, pieces);
  }

  /** Packed KV rows as floats. */
  unpacked(bytes: Uint8Array): Float32Array {
    const { config, layout } = this.model;
    const count = bytes.length / layout.rowBytes;
    const entries = upload(this.#scratchTensor("U8", [count, layout.rowBytes]), bytes);
    const rows = this.#scratchTensor("F32", [count, config.headDim]);
    this.ops.kvUnpack({ entries, rows, kvLayout: layout.kv, rope: config.rope });
    return this.#read(rows);
  }

  release(): void {
    for (const sequence of this.#sequences.splice(0)) freeSequence(sequence);
    for (const buffer of this.#scratch.splice(0)) buffer.release();
    this.#means.work.release();
    this.ops.release();
    this.model.release();
    this.#backend.close();
  }

  #alone(x: Float32Array, ids: Int32Array, sublayer: (run: Run, x: Tensor, y: Tensor) => void): Float32Array {
    const sequence = this.sequence();
    const run = prepare(this.#means, [{ sequence, ids }]);
    const shape = [ids.length, this.model.config.hidden];
    const input = this.#scratchTensor(this.model.activation, shape);
    this.ops.cast({ x: this.#upload(x, shape), y: input });
    const output = this.#scratchTensor(this.model.activation, shape);
    sublayer(run, input, output);
    return this.#read(output);
  }

  #mtp(run: Run, ids: Int32Array, streams: Tensor, all: Int32Array): Float32Array | null {
    const { mtp } = this.model.weights;
    if (mtp === null) return null;
    const next = upload(
      this.#scratchTensor("I32", [ids.length]),
      Int32Array.from(ids, (_, i) => ids[i + 1] ?? 0),
    );
    const quiet: Run = { ...run, tap: null };
    const mixed = mtpBlock(quiet, this.model.config.ratios.length, mtp, next, streams);
    return this.#read(head(quiet, mtp, wantedRows(quiet, mixed, all)));
  }

  #tap(): Tap {
    return {
      see: (name, layer, value) => {
        this.ops.wait();
        this.seen.set(`${name}.${layer}`, value.dtype === "I32" ? new Float32Array(ints(value)) : floats(value));
      },
      scores: (rows, entries) => (entries === 0 ? null : this.#scratchTensor("F32", [rows, entries])),
    };
  }

  #read(t: Tensor): Float32Array {
    this.ops.wait();
    return floats(t);
  }

  #upload(values: Float32Array, shape: readonly number[]): Tensor {
    const placed = from("F32", shape, values);
    this.#scratch.push(placed.buffer);
    return placed;
  }

  #scratchTensor(dtype: Activation | "U8" | "I32", shape: readonly number[]): Tensor {
    const made = zeros(dtype, shape);
    this.#scratch.push(made.buffer);
    return made;
  }
}

function leastCommonMultiple(a: number, b: number): number {
  let [x, y] = [a, b];
  while (y > 0) [x, y] = [y, x % y];
  return (a / x) * b;
}
