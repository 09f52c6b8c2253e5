import { basename } from "node:path";
import { fingerprint } from "../shared/engine/checkpoint/fingerprint.ts";
import type { Totals } from "../shared/engine/checkpoint/inventory.ts";
import { type Checkpoint, openCheckpoint } from "../shared/engine/checkpoint/open.ts";
import { type CheckpointWarning, warningText } from "../shared/engine/checkpoint/warnings.ts";
import { Tokenizer } from "../shared/engine/tokenizer/tokenizer.ts";
import { type MemoryPresent, memoryPresent } from "../shared/runtime/present.ts";
import { bytes, whole } from "../shared/runtime/units.ts";
import { sizesReport } from "./sizes.ts";
import { sheet } from "./table.ts";

/** What a folder holds and what serving it takes. */
interface InspectReport {
  readonly dir: string;
  readonly release: "preview" | "0731";
  readonly layers: number;
  readonly shards: number;
  readonly stored: Totals;
  readonly mapped: Totals;
  /** How the routed experts are stored. */
  readonly experts: string;
  /** Of KV, what one sequence of the whole context takes. */
  readonly sequence: { readonly tokens: number; readonly bytes: number };
  readonly memory: MemoryPresent;
  readonly warnings: readonly CheckpointWarning[];
  /** Hexadecimal. */
  readonly fingerprint: string;
}

/** What a worker opens before it serves, opened as it does: the weights' headers, and the tokenizer. Throws BAD_CHECKPOINT with what is wrong. */
export async function openFolder(dir: string, memory?: MemoryPresent): Promise<Checkpoint> {
  const checkpoint = openCheckpoint(dir, memory);
  await (await Tokenizer.load(dir)).close();
  return checkpoint;
}

/** Throws BAD_CHECKPOINT where the folder cannot be served, with the list of what is wrong. */
export async function inspectReport(dir: string, memory: MemoryPresent = memoryPresent()): Promise<InspectReport> {
  const checkpoint = await openFolder(dir, memory);
  const { config, shards, stored, mapped, warnings } = checkpoint;
  const { contextTokens, contextBytes, fixedBytes } = sizesReport(config, "");
  return {
    dir,
    release: config.release,
    layers: config.ratios.length,
    shards: shards.length,
    stored,
    mapped,
    experts: expertFormat(checkpoint),
    sequence: { tokens: contextTokens, bytes: contextBytes + fixedBytes },
    memory,
    warnings,
    fingerprint: Buffer.from(fingerprint(checkpoint)).toString("hex"),
  };
}

const expertFormat = ({ weights }: Checkpoint): string => weights.layers[0]!.moe.experts[0]!.w1.weight.dtype;

export function renderInspect(report: InspectReport): string {
  const { stored, mapped, sequence, memory } = report;
  const dtypes = Object.entries(stored.byDtype).map(([dtype, count]) => `${dtype} ${whole(count)}`);
  const rows = [
    ["model", `deepseek_v4, ${report.release} release, ${report.layers} layers, experts ${report.experts}`],
    ["holds", `${whole(stored.tensors)} tensors, ${bytes(stored.bytes)}, ${report.shards} ${report.shards === 1 ? "file" : "files"}`],
    ["", dtypes.join(", ")],
    ["maps", `${whole(mapped.tensors)} tensors, ${bytes(mapped.bytes)}`],
    ["needs", `${bytes(mapped.bytes)} of memory for the weights, which processes of one machine share`],
    ["", `${bytes(sequence.bytes)} of KV for each sequence of ${whole(sequence.tokens)} tokens`],
    ["has", `${bytes(memory.bytes)} (${memory.limitedBy === "cgroup" ? "limit of the container" : "this machine"})`],
    ["fingerprint", report.fingerprint],
    ...report.warnings.map((warning) => ["note", warningText(warning)]),
  ];
  return sheet(basename(report.dir), rows);
}
