import { fingerprint } from "../checkpoint/fingerprint.ts";
import type { Checkpoint } from "../checkpoint/open.ts";
import type { EngineInfo } from "../engine.ts";
import type { LayoutChoice, PayloadLayout } from "../layout.ts";
import { layerKind, type ModelConfig } from "../model-config.ts";
import { ringSlots } from "../sequence.ts";
import { kvSizes } from "../sizes.ts";

export interface NativeOptions extends LayoutChoice {
  /** Folder of the checkpoint. */
  readonly modelPath: string;
  /** Absent: the best path of this machine. */
  readonly kernelPath?: string | undefined;
  /** Threads that compute, including the engine's own. */
  readonly threads: number;
  readonly chunkTokens: number;
  readonly batchMax: number;
  /** An upper bound; the model may allow less: see draftMax below. */
  readonly draftMax: number;
  /** Absent, or more than the model's: the model's. */
  readonly contextTokens?: number | undefined;
}

export function engineInfo(options: NativeOptions, checkpoint: Checkpoint, layout: PayloadLayout, kernelPath: string): EngineInfo {
  const { config } = checkpoint;
  return {
    fingerprint: fingerprint(checkpoint),
    kvLayout: layout.name,
    kernelPath,
    mode: options.mode,
    layers: config.ratios.length,
    vocabSize: config.vocab,
    contextTokens: Math.min(options.contextTokens ?? config.contextTokens, config.contextTokens),
    segmentTokens: layout.segmentTokens,
    segmentBytes: layout.segmentBytes,
    stateBytes: kvSizes(config, layout).stateBytes,
    replayTokens: replayTokens(config),
    chunkTokens: options.chunkTokens,
    batchMax: options.batchMax,
    draftMax: Math.min(options.draftMax, draftMax(config)),
  };
}

/** The longest draft that can be rolled back: with the token before it, it overwrites no slot of a ring twice. */
const draftMax = ({ ratios, window }: ModelConfig): number => Math.min(window, ...ratios.filter((ratio) => ratio > 0).map(ringSlots)) - 1;

/**
 * How far before the end of stored segments a replay must begin. Rows of layer l are exact once l (W-1) tokens lie
 * between them and the start. The last layer must then still fill its window and the overlap rows of a CSA compressor;
 * the overlap is longer than the window only in toy models.
 */
function replayTokens({ ratios, window }: ModelConfig): number {
  const overlap = ratios.some((ratio) => layerKind(ratio) === "csa") ? 4 : 0;
  const exact = (ratios.length - 1) * (window - 1) + Math.max(window - 1, overlap);
  return Math.ceil(exact / 128) * 128;
}
