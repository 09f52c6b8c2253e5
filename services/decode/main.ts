import type { Config } from "../shared/runtime/config.ts";
import { workerProcess } from "../shared/worker/process.ts";
import { watchTextOf } from "./watch-text.ts";
import { decodeWorker } from "./worker.ts";

/** The decode role: one worker, until it is told to stop. */
export const runDecode = (config: Config): Promise<void> =>
  workerProcess("decode", config, ({ deps, settings, opened }, stop) => {
    const { flushTokens, flushMs } = config;
    return decodeWorker(deps, { ...settings, flushTokens, flushMs }, watchTextOf(opened.tokenizer), stop);
  });
