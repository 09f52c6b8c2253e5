import { ChunkSize } from "../shared/worker/chunk-size.ts";
import { contextFactory } from "../shared/worker/context.ts";
import type { WorkerDeps, WorkerSettings } from "../shared/worker/deps.ts";
import { station } from "../shared/worker/station.ts";
import { runPrefill } from "./run-prefill.ts";

export interface PrefillSettings extends WorkerSettings {
  /** Jobs held at once. */
  readonly prefillSlots: number;
  readonly chunkMs: number;
}

export interface PrefillWorker {
  readonly deps: WorkerDeps;
  readonly settings: PrefillSettings;
  readonly contextOf: ReturnType<typeof contextFactory>;
  /** Of all its jobs: the engine computes one chunk at a time. */
  readonly chunks: ChunkSize;
}

/** Works until `stop` aborts, then finishes the chunk it is in, hands back its jobs and resolves. */
export async function prefillWorker(deps: WorkerDeps, settings: PrefillSettings, stop: AbortSignal): Promise<void> {
  const chunks = new ChunkSize({ clock: deps.clock, tokensMax: deps.engine.info.chunkTokens, chunkMs: settings.chunkMs });
  const worker: PrefillWorker = { deps, settings, contextOf: contextFactory(deps, settings), chunks };
  const options = { ...settings, phase: "prefill", slots: settings.prefillSlots } as const;
  await station(deps, options, (job) => runPrefill(worker, job), stop);
}
