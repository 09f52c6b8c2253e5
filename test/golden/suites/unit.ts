import { eachLayer, pick, type Tensors } from "./checkpoint.ts";
import type { Pair } from "./compare.ts";
import type { ObservedModel } from "./observed.ts";

export interface UnitPairs {
  readonly attention: readonly Pair[];
  readonly experts: readonly Pair[];
  readonly selections: readonly Pair[];
}

/** One-layer tests: unit.x as the input of single sublayers, so that nothing before them can have gone wrong. */
export function unitPairs(observed: ObservedModel, golden: Tensors, prefix: string): UnitPairs {
  const x = golden.get("unit.x");
  if (x === undefined) return { attention: [], experts: [], selections: [] };
  const [rows = 0, rowLength = 0] = x.shape;
  const ids = Int32Array.from(golden.get("ids")!.values.subarray(0, rows));
  const positions = [...golden.get("unit.positions")!.values];
  const indexed = [...(golden.get("unit.index_positions")?.values ?? [])];
  const pair = (name: string, ours: () => Float32Array, at: readonly number[], width: number): Pair[] => {
    const tensor = golden.get(name);
    return tensor === undefined ? [] : [{ name, ours: pick(ours(), at, width), golden: tensor.values, rowLength: width }];
  };
  const selections: Pair[] = [];
  const attention = eachLayer(observed, (layer) => {
    const found = pair(`unit.${prefix}attn_out.${layer}`, () => observed.attentionAlone(layer, x.values), positions, rowLength);
    const selected = () => observed.seen.get(`index_sel.${layer}`)!;
    selections.push(...pair(`unit.${prefix}index_sel.${layer}`, selected, indexed, observed.model.config.indexTopK));
    return found;
  });
  const experts = eachLayer(observed, (layer) =>
    pair(`unit.ffn_out.${layer}`, () => observed.expertsAlone(layer, x.values, ids), positions, rowLength),
  );
  return { attention, experts, selections };
}
