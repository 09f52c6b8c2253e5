import { basename } from "node:path";
import { fingerprint } from "../shared/engine/checkpoint/fingerprint.ts";
import { type MemoryPresent, memoryPresent } from "../shared/engine/checkpoint/memory.ts";
import { type Checkpoint, openCheckpoint } from "../shared/engine/checkpoint/open.ts";
import { warningText } from "../shared/engine/checkpoint/warnings.ts";
import { kvSizes } from "../shared/engine/sizes.ts";
import { Tokenizer } from "../shared/engine/tokenizer/tokenizer.ts";
import { bytes, whole } from "../shared/runtime/units.ts";
import { sheet } from "./table.ts";

/** What a worker opens before it serves, opened as it does: the weights' headers, and the tokenizer. Throws BAD_CHECKPOINT with what is wrong. */
export async function openFolder(dir: string, memory?: MemoryPresent): Promise<Checkpoint> {
  const checkpoint = openCheckpoint(dir, memory);
  await (await Tokenizer.load(dir)).close();
  return checkpoint;
}

/** What a folder holds and what serving it takes. Throws BAD_CHECKPOINT where it cannot be served, with the list of what is wrong. */
export async function inspect(dir: string, memory: MemoryPresent = memoryPresent()): Promise<string> {
  const checkpoint = await openFolder(dir, memory);
  const { config, shards, stored, mapped, warnings, weights } = checkpoint;
  const { bytesPerToken, stateBytes } = kvSizes(config);
  const experts = weights.layers[0]!.moe.experts[0]!.w1.weight.dtype;
  const dtypes = Object.entries(stored.byDtype).map(([dtype, count]) => `${dtype} ${whole(count)}`);
  const rows = [
    ["model", `deepseek_v4, ${config.release} release, ${config.ratios.length} layers, experts ${experts}`],
    ["holds", `${whole(stored.tensors)} tensors, ${bytes(stored.bytes)}, ${shards.length} ${shards.length === 1 ? "file" : "files"}`],
    ["", dtypes.join(", ")],
    ["maps", `${whole(mapped.tensors)} tensors, ${bytes(mapped.bytes)}`],
    ["needs", `${bytes(mapped.bytes)} of memory for the weights, which processes of one machine share`],
    ["", `${bytes(bytesPerToken * config.contextTokens + stateBytes)} of KV for each sequence of ${whole(config.contextTokens)} tokens`],
    ["has", `${bytes(memory.bytes)} (${memory.limitedBy === "cgroup" ? "limit of the container" : "this machine"})`],
    ["fingerprint", Buffer.from(fingerprint(checkpoint)).toString("hex")],
    ...warnings.map((warning) => ["note", warningText(warning)]),
  ];
  return sheet(basename(dir), rows);
}
