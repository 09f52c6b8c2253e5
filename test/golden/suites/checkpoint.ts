import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { joined } from "../../../services/shared/runtime/joined.ts";
import { type GoldenTensor, readSafetensors } from "../../support/safetensors.ts";
import { type Bound, compareLogits, compareSets, compareValues, type Pair } from "./compare.ts";
import { ObservedModel } from "./observed.ts";
import type { SuiteResult } from "./result.ts";
import { type StateTable, stateAlong } from "./state.ts";
import { unitPairs } from "./unit.ts";

export interface CheckpointRun {
  readonly mode: "exact" | "serving";
  readonly kernelPath: string;
}

export type Tensors = ReadonlyMap<string, GoldenTensor>;

/** One way the golden values were made: how its tensors and suites are called, and whether KV is quantised in it. */
interface Variant {
  readonly prefix: "" | "plain." | "kvq.";
  readonly suffix: "" | "_plain" | "_kvq";
  readonly plainKv: boolean;
}

const variants: readonly Variant[] = [
  { prefix: "", suffix: "", plainKv: true },
  { prefix: "plain.", suffix: "_plain", plainKv: true },
  { prefix: "kvq.", suffix: "_kvq", plainKv: false },
];

/** Every suite of a folder with a checkpoint and golden.safetensors. Each number comes from its tolerance.json. */
export function runCheckpointGolden(folder: string, run: CheckpointRun): SuiteResult[] {
  const golden = readSafetensors(join(folder, "golden.safetensors"));
  const tolerance = readJson(join(folder, "tolerance.json")) as Record<string, Record<string, Bound | "equal">>;
  const bounds = tolerance[run.mode] ?? {};
  const results = variants
    .filter(({ suffix }) => golden.has(`logits${suffix}`))
    .flatMap((variant) => variantSuites(folder, golden, bounds, variant, run));
  const unknown = Object.keys(bounds).filter((name) => !results.some(({ suite }) => suite === name));
  if (unknown.length === 0 && results.length > 0) return results;
  const failures =
    results.length === 0
      ? [`nothing to compare: golden.safetensors has no logits for which tolerance.json has bounds under "${run.mode}"`]
      : unknown.map((name) => `tolerance.json names ${name}, for which there is nothing to compare`);
  return [...results, { suite: "all suites", compared: results.length, worst: failures.length, tolerance: "exact", failures }];
}

type Bounds = Readonly<Record<string, Bound | "equal">>;

function variantSuites(folder: string, golden: Tensors, bounds: Bounds, variant: Variant, run: CheckpointRun): SuiteResult[] {
  const ids = Int32Array.from(golden.get("ids")!.values);
  const rowsMax = Math.max(ids.length, golden.get("unit.x")?.shape[0] ?? 0);
  const observed = new ObservedModel(folder, { ...run, plainKv: variant.plainKv, rowsMax });
  try {
    const found = observe(observed, golden, ids, variant);
    const { suffix } = variant;
    const results: SuiteResult[] = [];
    const add = (name: string, make: (name: string, bound: Bound) => SuiteResult | null) => {
      const bound = bounds[name];
      const made = bound === undefined || bound === "equal" ? null : make(name, bound);
      if (made !== null) results.push(made);
    };
    add(`logits${suffix}`, (name, bound) => compareLogits(name, bound, found.logits));
    add(`mtp_logits${suffix}`, (name, bound) => (found.mtpLogits === null ? null : compareLogits(name, bound, found.mtpLogits)));
    add("stream", (name, bound) => compareValues(name, bound, found.streams));
    if (bounds[`selections${suffix}`] === "equal") results.push(compareSets(`selections${suffix}`, found.selections));
    if (run.mode === "exact") results.push(...inside(folder, observed, golden, bounds, variant, found));
    results.push(...units(observed, golden, bounds, variant));
    return results;
  } finally {
    observed.release();
  }
}

/** What was observed on the way, beside the golden tensor of the same name. */
interface Found {
  readonly logits: Pair;
  readonly mtpLogits: Pair | null;
  readonly streams: readonly Pair[];
  readonly selections: readonly Pair[];
  readonly intermediate: readonly Pair[];
}

function observe(observed: ObservedModel, golden: Tensors, ids: Int32Array, { prefix, suffix }: Variant): Found {
  const sequence = observed.sequence();
  const { logits, stream, mtpLogits } = observed.feed(sequence, ids);
  const all = Array.from(ids.keys());
  const listed = (name: string) => (prefix === "" ? all : Array.from(golden.get(name)?.values ?? []));
  const debug = listed("debug_positions");
  const indexed = listed("index_positions");

  const pair = (name: string, ours: Float32Array, positions: readonly number[]): Pair[] => {
    const tensor = golden.get(name);
    if (tensor === undefined) return [];
    const rowLength = ours.length / ids.length;
    return [{ name, ours: pick(ours, positions, rowLength), golden: tensor.values, rowLength }];
  };
  const tapped = (name: string, positions: readonly number[]) =>
    eachLayer(observed, (layer) => {
      const seen = observed.seen.get(`${name}.${layer}`);
      return seen === undefined ? [] : pair(`${prefix}${name}.${layer}`, seen, positions);
    });

  const mtpRows = debug.filter((position) => position < ids.length - 1);
  const layerStreams = golden.get("layer_streams");
  const layered = () =>
    joined(
      Float32Array,
      eachLayer(observed, (layer) => [observed.seen.get(`stream.${layer}`)!]),
    );
  return {
    logits: pair(`logits${suffix}`, logits, all)[0]!,
    mtpLogits: mtpLogits === null ? null : (pair(`mtp_logits${suffix}`, mtpLogits, mtpRows)[0] ?? null),
    streams: pair(`${prefix}stream`, stream, debug),
    selections: [...tapped("route_ids", debug), ...tapped("index_sel", indexed)],
    intermediate: [
      ...["attn_in", "attn_out", "ffn_in", "ffn_out"].flatMap((name) => tapped(name, debug)),
      ...tapped("index_scores", indexed),
      ...routeWeights(observed, golden, prefix, debug),
      ...storedRows(observed, golden, sequence, prefix),
      ...(layerStreams === undefined
        ? []
        : [{ name: "layer_streams", ours: layered(), golden: layerStreams.values, rowLength: stream.length / ids.length }]),
    ],
  };
}

/** Tensors that have no bound of their own are held to that of what they lead to. */
function inside(folder: string, observed: ObservedModel, golden: Tensors, bounds: Bounds, variant: Variant, found: Found): SuiteResult[] {
  const { suffix, plainKv } = variant;
  const bound = bounds.stream ?? bounds[`logits${suffix}`];
  if (bound === undefined || bound === "equal") return [];
  const pairs = bounds.stream === undefined ? [...found.intermediate, ...found.streams] : found.intermediate;
  const results = [compareValues(`inside${suffix}`, bound, pairs)];
  const stateFile = join(folder, "state.json");
  if (!plainKv || !existsSync(stateFile)) return results;
  const ids = Int32Array.from(golden.get("ids")!.values);
  const { tensors, sizes } = stateAlong(observed, golden, ids, readJson(stateFile) as StateTable);
  return [...results, compareValues("state", bound, tensors), sizes];
}

function units(observed: ObservedModel, golden: Tensors, bounds: Bounds, { prefix, plainKv }: Variant): SuiteResult[] {
  const found = unitPairs(observed, golden, prefix);
  const results: SuiteResult[] = [];
  const add = (name: string, pairs: readonly Pair[]) => {
    const bound = bounds[name];
    if (bound !== undefined && bound !== "equal" && pairs.length > 0) results.push(compareValues(name, bound, pairs));
  };
  add(`unit.${prefix}attn_out`, found.attention);
  if (plainKv) add("unit.ffn_out", found.experts);
  const selections = plainKv && bounds.selections_plain === "equal" && found.selections.length > 0;
  return selections ? [...results, compareSets("unit.selections_plain", found.selections)] : results;
}

/** Slots are ordered by expert here, by score in the golden data: weights are compared expert by expert. */
function routeWeights(observed: ObservedModel, golden: Tensors, prefix: string, positions: readonly number[]): Pair[] {
  const k = observed.model.config.expertsPerToken;
  return eachLayer(observed, (layer) => {
    const name = `${prefix}route_weights.${layer}`;
    const [ids, weights] = [golden.get(`${prefix}route_ids.${layer}`), golden.get(name)];
    if (ids === undefined || weights === undefined) return [];
    const sorted = weights.values.slice();
    for (let at = 0; at < sorted.length; at += k) {
      const order = [...ids.values.slice(at, at + k).keys()].sort((a, b) => ids.values[at + a]! - ids.values[at + b]!);
      sorted.set(
        order.map((slot) => weights.values[at + slot]!),
        at,
      );
    }
    return [{ name, ours: pick(observed.seen.get(`route_weights.${layer}`)!, positions, k), golden: sorted, rowLength: k }];
  });
}

/** Compressed entries and index keys as they lie in the pages. */
function storedRows(observed: ObservedModel, golden: Tensors, sequence: Parameters<ObservedModel["stored"]>[0], prefix: string): Pair[] {
  return eachLayer(observed, (layer) => {
    const blocks = observed.model.layout.layers[layer]!;
    return (["entries", "keys"] as const).flatMap((kind) => {
      const name = `${prefix}${kind === "keys" ? "index_keys" : "entries"}.${layer}`;
      const tensor = golden.get(name);
      const block = blocks[kind];
      if (tensor === undefined || block === null) return [];
      const [count = 0, rowLength = 0] = tensor.shape;
      return [{ name, ours: observed.stored(sequence, block, kind, count), golden: tensor.values, rowLength }];
    });
  });
}

export const eachLayer = <T>(observed: ObservedModel, of: (layer: number) => readonly T[]): T[] =>
  observed.model.config.ratios.flatMap((_, layer) => of(layer));

export function pick(values: Float32Array, rows: readonly number[], rowLength: number): Float32Array {
  const picked = new Float32Array(rows.length * rowLength);
  for (const [i, row] of rows.entries()) picked.set(values.subarray(row * rowLength, (row + 1) * rowLength), i * rowLength);
  return picked;
}

const readJson = (path: string): unknown => JSON.parse(readFileSync(path, "utf8"));
