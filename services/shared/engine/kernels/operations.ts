import { type KeyLayout, type KvLayout, keyLayouts, kvLayouts } from "./layouts.ts";
import { TENSOR_NUMBERS, type Tensor, type TensorList, writeTensor } from "./tensor.ts";

/**
 * Every operation's operands and parameters, in the order of ls_op and of its row in
 * kernels.h, which documents shapes, dtypes and meaning under the same names. `x?` may be
 * null, `x*` is a list. This table is both the type of the calls and their marshalling.
 */
const operations = {
  embed: call(["ids", "table", "streams"], []),
  rmsNorm: call(["x", "w?", "y"], ["eps"]),
  linear: call(["x", "w", "scale?", "y"], ["groups"]),
  hcPre: call(["streams", "fn", "base", "scale", "x", "post", "comb"], ["rmsEps", "hcEps", "sinkhornIters"]),
  hcPost: call(["y", "streams", "post", "comb", "out"], []),
  hcHead: call(["streams", "fn", "base", "scale", "h"], ["rmsEps", "hcEps"]),
  ropeTable: call(["positions", "freqs", "table"], []),
  rope: call(["x", "table"], ["sign"]),
  kvPack: call(["rows", "entries"], ["kvLayout", "rope"]),
  kvUnpack: call(["entries", "rows"], ["kvLayout", "rope"]),
  keyPack: call(["rows", "keys"], ["keyLayout"]),
  keyUnpack: call(["keys", "rows"], ["keyLayout"]),
  windowPut: call(["entries", "ring"], ["start"]),
  compress: call(["k", "z", "ape", "ring", "pooled"], ["start", "m", "overlap"]),
  select: call(["iq", "iw", "keys*", "sel", "scores?"], ["start", "m", "keyLayout", "dim", "pageOffset", "rowsPerPage", "scale"]),
  attention: call(
    ["q", "fresh", "ring", "sink", "sel?", "pages*?", "o"],
    ["start", "first", "m", "kvLayout", "rope", "pageOffset", "rowsPerPage", "scale"],
  ),
  route: call(["logits", "bias?", "table?", "ids?", "idx", "weights"], ["routedScaling"]),
  experts: call(["x", "idx?", "weights?", "experts*", "y"], ["limit"]),
  add: call(["a", "b", "y"], ["repeat"]),
  gather: call(["x", "rows", "y"], []),
  cast: call(["x", "y"], []),
};

export type Operation = keyof typeof operations;
export const operationNames = Object.keys(operations) as Operation[];

type Name<Marked extends string> = Marked extends `${infer N}*?` ? N : Marked extends `${infer N}${"*" | "?"}` ? N : Marked;
type Operand<Marked extends string> = Marked extends `${string}*?`
  ? TensorList | null
  : Marked extends `${string}*`
    ? TensorList
    : Marked extends `${string}?`
      ? Tensor | null
      : Tensor;
type Parameter<N extends string> = N extends "kvLayout"
  ? KvLayout
  : N extends "keyLayout"
    ? KeyLayout
    : N extends "overlap"
      ? boolean
      : number;

export type Arguments<O extends Operation> = {
  readonly [M in (typeof operations)[O]["operands"][number] as Name<M>]: Operand<M>;
} & { readonly [P in (typeof operations)[O]["parameters"][number]]: Parameter<P> };

/** Numbers of one call: more than any operation needs. */
export const COMMAND_NUMBERS = 3 + 8 * TENSOR_NUMBERS + 8;

/** Writes a call at `at` as the addon reads it (kernels/node/command.h) and returns the index after it. */
export function writeCommand<O extends Operation>(commands: Float64Array, at: number, operation: O, args: Arguments<O>): number {
  const { code, names, parameters } = encodings[operation];
  const values = args as Readonly<Record<string, Value>>;
  commands[at++] = code;
  commands[at++] = names.length;
  commands[at++] = parameters.length;
  for (const name of names) at = writeTensor(commands, at, values[name] as Tensor | TensorList | null);
  for (const name of parameters) commands[at++] = encode(name, values[name]!);
  return at;
}

type Value = Tensor | TensorList | null | string | number | boolean;

function encode(name: string, value: Value): number {
  if (name === "kvLayout") return kvLayouts.indexOf(value as KvLayout);
  if (name === "keyLayout") return keyLayouts.indexOf(value as KeyLayout);
  return Number(value);
}

const encodings = Object.fromEntries(
  operationNames.map((operation, code) => [
    operation,
    {
      code,
      names: operations[operation].operands.map((marked) => marked.replace(/[*?]+$/, "")),
      parameters: operations[operation].parameters,
    },
  ]),
) as unknown as Readonly<
  Record<Operation, { readonly code: number; readonly names: readonly string[]; readonly parameters: readonly string[] }>
>;

function call<const Operands extends readonly string[], const Parameters extends readonly string[]>(
  operands: Operands,
  parameters: Parameters,
) {
  return { operands, parameters };
}
