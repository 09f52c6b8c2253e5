import { bytes, whole } from "../../runtime/units.ts";
import type { Totals } from "./inventory.ts";
import type { MemoryPresent } from "./memory.ts";

/** What an operator should know about a checkpoint that can be served. */
export type CheckpointWarning =
  | { readonly kind: "memory"; readonly neededBytes: number; readonly present: MemoryPresent }
  | { readonly kind: "unused"; readonly tensors: readonly string[] }
  /** The config counts an MTP block and the shards hold nothing of it. */
  | { readonly kind: "mtp-absent" }
  /** The drafting block of 0731: known, not used yet. */
  | { readonly kind: "dspark"; readonly held: Totals };

const UNUSED_SHOWN = 5;

/** One sentence, also for a worker's log. */
export function warningText(warning: CheckpointWarning): string {
  switch (warning.kind) {
    case "memory": {
      const { neededBytes, present } = warning;
      return `the weights need ${bytes(neededBytes)} of memory and ${bytes(present.bytes)} are present: pages will be read from disk again and again`;
    }
    case "unused": {
      const { tensors } = warning;
      const shown = tensors.slice(0, UNUSED_SHOWN).join(", ");
      return `${whole(tensors.length)} tensors are not part of the model: ${shown}${tensors.length > UNUSED_SHOWN ? ", ..." : ""}`;
    }
    case "mtp-absent":
      return "config.json counts an MTP block, but the files hold none: served without it";
    case "dspark":
      return `the DSpark drafting block (${whole(warning.held.tensors)} tensors, ${bytes(warning.held.bytes)}) is known and not used yet`;
  }
}
