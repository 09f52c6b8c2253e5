import { contextFactory } from "../shared/worker/context.ts";
import type { WorkerDeps } from "../shared/worker/deps.ts";
import { KvRoom } from "../shared/worker/kv-room.ts";
import { station } from "../shared/worker/station.ts";
import type { WatchText } from "./answer.ts";
import { type DecodeSettings, type DecodeWorker, runDecode } from "./run-decode.ts";
import { RunningBatch } from "./running-batch.ts";

/** Works until `stop` aborts, then finishes the step it is in, hands back its jobs and resolves. */
export async function decodeWorker(deps: WorkerDeps, settings: DecodeSettings, watchText: WatchText, stop: AbortSignal): Promise<void> {
  const room = new KvRoom(deps.engine.info, settings.kvBytes, deps.clock);
  const batch = new RunningBatch(deps.engine, deps.clock, () => deps.pulse.beat());
  const worker: DecodeWorker = { deps, settings, contextOf: contextFactory(deps, settings, room), watchText, batch };
  const options = { ...settings, phase: "decode", slots: deps.engine.info.batchMax, room, turnMs: Number.POSITIVE_INFINITY } as const;
  await station(deps, options, (job) => runDecode(worker, job), stop);
}
