import { basename } from "node:path";
import { ServingError } from "../runtime/errors.ts";
import type { Checkpoint } from "./checkpoint/open.ts";
import type { Shard } from "./checkpoint/safetensors.ts";
import type { ExpertWeights, ModelWeights, TensorRef } from "./checkpoint/weights.ts";
import { type Activation, from, mapFile, type NativeBuffer, type Tensor, TensorList, tensor } from "./kernels.ts";
import { type LayoutChoice, type PayloadLayout, payloadLayout } from "./layout.ts";
import type { ModelConfig } from "./model-config.ts";
import { ropeFrequencies } from "./rope.ts";

/** A checkpoint that kernels can read: shards mapped, every weight a tensor, every layer's experts one list. */
export interface Model {
  readonly config: ModelConfig;
  readonly layout: PayloadLayout;
  /** Type of activations between operations: F32 in exact mode, BF16 in serving mode. */
  readonly activation: Activation;
  readonly weights: Placed<ModelWeights>;
  /** RoPE frequencies F32 [rope/2]: of layers with ratio 0, and of all others. */
  readonly frequencies: { readonly main: Tensor; readonly compressed: Tensor };
  release(): void;
}

/** A part of the weight tree: a tensor for each reference, a list for experts (w1, s1, w3, s3, w2, s2 of each). */
export type Placed<T> = T extends TensorRef
  ? Tensor
  : T extends ExpertWeights | readonly ExpertWeights[]
    ? TensorList
    : T extends object
      ? { readonly [K in keyof T]: Placed<T[K]> }
      : T;

/** Maps the shards; weights are read when they are used. */
export function placeModel({ shards, config, weights }: Checkpoint, choice: LayoutChoice): Model {
  const layout = payloadLayout(config, choice);
  const owned: { release(): void }[] = [];
  const own = <T extends { release(): void }>(resource: T): T => {
    owned.push(resource);
    return resource;
  };
  const release = () => {
    for (const resource of owned.splice(0).reverse()) resource.release();
  };
  const frequencies = (values: Float32Array): Tensor => {
    const placed = from("F32", [values.length], values);
    own(placed.buffer);
    return placed;
  };
  try {
    const maps = shards.map((shard) => mapShard(shard, own));
    return {
      config,
      layout,
      activation: choice.mode === "exact" ? "F32" : "BF16",
      weights: place(weights, maps, () => own(new TensorList())) as Placed<ModelWeights>,
      frequencies: { main: frequencies(ropeFrequencies(config, 0)), compressed: frequencies(ropeFrequencies(config, 1)) },
      release,
    };
  } catch (error) {
    release();
    throw error;
  }
}

/**
 * Refuses a file that changed since its header was read:
 * touching a mapped page that the file no longer has would end the process.
 */
function mapShard({ path, fileBytes }: Shard, own: (map: NativeBuffer) => NativeBuffer): NativeBuffer {
  const map = own(mapFile(path));
  if (map.size === fileBytes) return map;
  throw new ServingError(
    "BAD_CHECKPOINT",
    `${basename(path)}: had ${fileBytes} bytes when its header was read and has ${map.size} now: wait until nobody writes to the model's folder`,
  );
}

function place(tree: unknown, maps: readonly NativeBuffer[], newList: () => TensorList): unknown {
  if (tree === null || typeof tree !== "object") return tree;
  if (isRef(tree)) return placed(tree, maps);
  if (isExpert(tree)) return expertList([tree], maps, newList());
  if (isExperts(tree)) return expertList(tree, maps, newList());
  if (Array.isArray(tree)) return tree.map((branch) => place(branch, maps, newList));
  return Object.fromEntries(Object.entries(tree).map(([key, branch]) => [key, place(branch, maps, newList)]));
}

const isRef = (tree: object): tree is TensorRef => "shard" in tree;
const isExpert = (tree: object): tree is ExpertWeights => "w1" in tree;
const isExperts = (tree: object): tree is readonly ExpertWeights[] => Array.isArray(tree) && tree.length > 0 && isExpert(tree[0]);

const placed = ({ shard, dtype, shape, offset }: TensorRef, maps: readonly NativeBuffer[]): Tensor =>
  tensor(maps[shard]!, dtype, shape, offset);

function expertList(experts: readonly ExpertWeights[], maps: readonly NativeBuffer[], list: TensorList): TensorList {
  for (const { w1, w3, w2 } of experts)
    for (const { weight, scale } of [w1, w3, w2]) {
      list.append(placed(weight, maps));
      list.append(scale === null ? null : placed(scale, maps));
    }
  return list;
}
