import { refusal } from "../runtime/errors.ts";
import { type KeyLayout, type KvLayout, keyBytes, kvEntryBytes } from "./kernels.ts";
import { layerKind, type ModelConfig } from "./model-config.ts";

/** How compressed KV lies in memory, in Redis and on the wire: the same bytes (docs/formats-payload.md). */
export interface PayloadLayout {
  /** Part of every segment key: values of another name are never mixed. */
  readonly name: string;
  readonly kv: KvLayout;
  readonly key: KeyLayout;
  /** Bytes of one KV row: a window row or a compressed entry. */
  readonly rowBytes: number;
  readonly keyBytes: number;
  readonly segmentTokens: number;
  readonly segmentBytes: number;
  /** One for each layer of the model; the offsets are null where the layer has no such rows. */
  readonly layers: readonly LayerBlocks[];
}

/** Where the rows of one layer lie in a segment payload. */
interface LayerBlocks {
  readonly ratio: number;
  /** Rows a segment holds: segmentTokens / ratio. */
  readonly rows: number;
  readonly entries: Block | null;
  readonly keys: Block | null;
}

export interface Block {
  readonly offset: number;
  readonly rowBytes: number;
  readonly rows: number;
}

export interface LayoutChoice {
  readonly mode: "exact" | "serving";
  /** true: neither KV nor index keys are quantised. Absent: as the model was trained. */
  readonly plainKv?: boolean | undefined;
  readonly segmentTokens: number;
}

/** Throws INVALID_REQUEST if a segment would cut a compression window. */
export function payloadLayout(config: ModelConfig, choice: LayoutChoice): PayloadLayout {
  const { kv, key } = rowLayouts(choice.mode, choice.plainKv ?? !config.quantised);
  const rowBytes = kvEntryBytes(kv, config.headDim - config.rope, config.rope);
  const indexBytes = keyBytes(key, config.indexDim);
  const cut = config.ratios.find((ratio) => ratio > 0 && choice.segmentTokens % ratio !== 0);
  if (cut !== undefined) throw refusal(`segments of ${choice.segmentTokens} tokens cut windows of ${cut}: use a multiple`);

  let end = 0;
  const block = (rowBytes: number, rows: number): Block => {
    const offset = end;
    end += rowBytes * rows;
    return { offset, rowBytes, rows };
  };
  const layers = config.ratios.map((ratio): LayerBlocks => {
    const rows = ratio === 0 ? 0 : choice.segmentTokens / ratio;
    const entries = ratio === 0 ? null : block(rowBytes, rows);
    return { ratio, rows, entries, keys: layerKind(ratio) === "csa" ? block(indexBytes, rows) : null };
  });
  return { name: `${kv}+${key}`, kv, key, rowBytes, keyBytes: indexBytes, segmentTokens: choice.segmentTokens, segmentBytes: end, layers };
}

/** Quantised KV keeps its RoPE part in f32 in exact mode, where bf16 would be the largest error of all. */
function rowLayouts(mode: "exact" | "serving", plain: boolean): { kv: KvLayout; key: KeyLayout } {
  if (plain) return mode === "exact" ? { kv: "f32", key: "f32" } : { kv: "bf16", key: "bf16" };
  return { kv: mode === "exact" ? "e4m3_f32" : "e4m3_bf16", key: "fp4" };
}
