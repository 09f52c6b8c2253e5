import { type PayloadLayout, payloadLayout } from "./layout.ts";
import { type LayerKind, layerKind, type ModelConfig } from "./model-config.ts";

/** What KV costs, from the config alone (spec 3.1 to 3.3). */
export interface KvSizes {
  readonly layout: string;
  /** One window row or compressed entry. */
  readonly entryBytes: number;
  readonly indexKeyBytes: number;
  readonly kinds: readonly KindSizes[];
  /** Growing part: compressed entries and index keys of all layers. */
  readonly bytesPerToken: number;
  readonly segmentTokens: number;
  readonly segmentBytes: number;
  /** Window rings of all layers. */
  readonly windowBytes: number;
  /** Rings of float32 k and z of all compressors. */
  readonly compressorBytes: number;
  /** windowBytes + compressorBytes: what a sequence holds beside its segments, whatever its length. */
  readonly stateBytes: number;
}

interface KindSizes {
  readonly kind: LayerKind;
  /** 0 for sliding. */
  readonly ratio: number;
  readonly layers: number;
  readonly bytesPerToken: number;
}

export function kvSizes(
  config: ModelConfig,
  layout: PayloadLayout = payloadLayout(config, { mode: "serving", segmentTokens: 512 }),
): KvSizes {
  const { rowBytes, keyBytes, segmentTokens, segmentBytes } = layout;
  const windowBytes = config.ratios.length * config.window * rowBytes;
  const compressorBytes = sum(config.ratios.filter((ratio) => ratio > 0).map((ratio) => compressorBytesOf(config, ratio)));
  return {
    layout: layout.name,
    entryBytes: rowBytes,
    indexKeyBytes: keyBytes,
    kinds: [...new Set(config.ratios)].sort((a, b) => a - b).map((ratio) => kindSizes(config, layout, ratio)),
    bytesPerToken: segmentBytes / segmentTokens,
    segmentTokens,
    segmentBytes,
    windowBytes,
    compressorBytes,
    stateBytes: windowBytes + compressorBytes,
  };
}

function kindSizes(config: ModelConfig, { rowBytes, keyBytes }: PayloadLayout, ratio: number): KindSizes {
  const kind = layerKind(ratio);
  const layers = config.ratios.filter((other) => other === ratio).length;
  const row = kind === "csa" ? rowBytes + keyBytes : rowBytes;
  return { kind, ratio, layers, bytesPerToken: ratio === 0 ? 0 : (layers * row) / ratio };
}

/**
 * Bytes of a boundary's payload at `position` (spec 3.1):
 * windows, overlap and partial rows, and the compressed rows after the last whole segment.
 */
export function boundaryBytes(config: ModelConfig, layout: PayloadLayout, position: number): number {
  const windowRows = Math.min(position, config.window - 1);
  return sum(
    config.ratios.map((ratio) => windowRows * layout.rowBytes + (ratio === 0 ? 0 : layerStateBytes(config, layout, ratio, position))),
  );
}

function layerStateBytes(config: ModelConfig, layout: PayloadLayout, ratio: number, position: number): number {
  const partialRows = position % ratio;
  const tailRows = Math.floor((position % layout.segmentTokens) / ratio);
  if (layerKind(ratio) === "hca") return partialRows * compressorRow(config.headDim) + tailRows * layout.rowBytes;
  const overlapRows = position >= ratio ? ratio : 0;
  const dims = config.headDim + config.indexDim;
  return overlapRows * compressorRow(dims) + partialRows * compressorRow(2 * dims) + tailRows * (layout.rowBytes + layout.keyBytes);
}

/** Overlap doubles channels and rows, and the indexer has a compressor of its own (spec 2.4). */
const compressorBytesOf = (config: ModelConfig, ratio: number): number =>
  layerKind(ratio) === "csa" ? 2 * ratio * compressorRow(2 * (config.headDim + config.indexDim)) : ratio * compressorRow(config.headDim);

/** float32 k and z of one token. */
const compressorRow = (channels: number): number => 2 * 4 * channels;

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
