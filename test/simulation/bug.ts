import type { Bus } from "../../services/shared/bus/contract.ts";
import type { Journal } from "../../services/shared/bus/journal.ts";
import type { Engine } from "../../services/shared/engine/engine.ts";
import type { SegmentStore } from "../../services/shared/segments/contract.ts";
import type { Process } from "./process.ts";
import type { World } from "./world.ts";

/**
 * A mistake planted into every process of a run, to see that the simulator notices. None of them is a part of the
 * services.
 */
export interface Bug {
  readonly journal?: (journal: Journal, process: Process, world: World) => Journal;
  readonly bus?: (bus: Bus, process: Process, world: World) => Bus;
  readonly store?: (store: SegmentStore, process: Process, world: World) => SegmentStore;
  readonly engine?: (engine: Engine, process: Process, world: World) => Engine;
}

export const noBug: Bug = {};
