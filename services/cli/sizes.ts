import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { parseModelConfig } from "../shared/engine/checkpoint/config.ts";
import { inventory, totals } from "../shared/engine/checkpoint/inventory.ts";
import { readJson } from "../shared/engine/checkpoint/json-files.ts";
import { payloadLayout } from "../shared/engine/layout.ts";
import type { ModelConfig } from "../shared/engine/model-config.ts";
import { boundaryBytes, kvSizes } from "../shared/engine/sizes.ts";
import { refusal } from "../shared/runtime/errors.ts";
import { packageRoot } from "../shared/runtime/package-root.ts";
import { bytes, whole } from "../shared/runtime/units.ts";
import { sheet } from "./table.ts";

/** `where`: a released model (v4-flash, v4-flash-0731, v4-pro), a config.json, or a folder that holds one. */
export function findModelConfig(where: string): { readonly name: string; readonly config: ModelConfig } {
  const released = join(packageRoot(), "deploy", "models", "configs");
  const path = [join(released, `${where}.json`), join(where, "config.json"), where].find(isFile);
  if (path === undefined) {
    const names = readdirSync(released)
      .map((file) => basename(file, ".json"))
      .sort();
    throw refusal(`${where}: neither a config.json, nor a folder with one, nor one of ${names.join(", ")}`);
  }
  const name = path === where ? where : basename(where);
  return { name, config: parseModelConfig(readJson(path), path) };
}

const isFile = (path: string) => existsSync(path) && statSync(path).isFile();

const kindNames = { sliding: "window only", csa: "CSA", hca: "HCA" } as const;

/** What a model costs in weights and KV. Needs its config alone. */
export function sizes(name: string, config: ModelConfig): string {
  const layout = payloadLayout(config, { mode: "serving", segmentTokens: 512 });
  const kv = kvSizes(config, layout);
  const weights = totals(inventory(config));
  const { contextTokens } = config;
  const kinds = kv.kinds.map(({ kind, ratio, layers, bytesPerToken }) => [
    `  ${layers} x ${kindNames[kind]}${ratio > 0 ? `, ratio ${ratio}` : ""}`,
    `${bytesPerToken} B`,
  ]);
  const rows = [
    ["weights", `${bytes(weights.bytes)} in ${whole(weights.tensors)} tensors`],
    ["KV layout", kv.layout],
    ["entry, index key", `${kv.entryBytes} B, ${kv.indexKeyBytes} B`],
    ["KV per token", `${kv.bytesPerToken} B`],
    ...kinds,
    [`segment of ${kv.segmentTokens} tokens`, `${whole(kv.segmentBytes)} B`],
    [`${whole(contextTokens)} tokens`, bytes(kv.bytesPerToken * contextTokens)],
    ["sequence, fixed part", `${bytes(kv.stateBytes)}: windows ${bytes(kv.windowBytes)}, compressors ${bytes(kv.compressorBytes)}`],
    ["boundary at the end", bytes(boundaryBytes(config, layout, contextTokens))],
  ];
  return sheet(name, rows);
}
