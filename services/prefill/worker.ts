import { ChunkSize } from "../shared/worker/chunk-size.ts";
import { contextFactory } from "../shared/worker/context.ts";
import type { WorkerDeps } from "../shared/worker/deps.ts";
import { KvRoom } from "../shared/worker/kv-room.ts";
import { station } from "../shared/worker/station.ts";
import { type PrefillSettings, type PrefillWorker, runPrefill } from "./run-prefill.ts";

/** Chunks in a turn: long against one chunk, short against a prompt that others would not want to wait for. */
const TURN_CHUNKS = 3;

/** Works until `stop` aborts, then finishes the chunk it is in, hands back its jobs and resolves. */
export async function prefillWorker(deps: WorkerDeps, settings: PrefillSettings, stop: AbortSignal): Promise<void> {
  const room = new KvRoom(deps.engine.info, settings.kvBytes, deps.clock);
  const chunks = new ChunkSize({ clock: deps.clock, tokensMax: deps.engine.info.chunkTokens, chunkMs: settings.chunkMs });
  const worker: PrefillWorker = { deps, settings, contextOf: contextFactory(deps, settings, room), chunks };
  const turnMs = TURN_CHUNKS * settings.chunkMs;
  const options = { ...settings, phase: "prefill", slots: settings.prefillSlots, room, turnMs } as const;
  await station(deps, options, (job) => runPrefill(worker, job), stop);
}
