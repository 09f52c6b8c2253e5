import type { Config } from "../shared/runtime/config.ts";
import { workerProcess } from "../shared/worker/process.ts";
import { prefillWorker } from "./worker.ts";

/** The prefill role: one worker, until it is told to stop. */
export const runPrefill = (config: Config): Promise<void> =>
  workerProcess("prefill", config, ({ deps, settings }, stop) =>
    prefillWorker(deps, { ...settings, prefillSlots: config.prefillSlots, chunkMs: config.chunkMs }, stop),
  );
