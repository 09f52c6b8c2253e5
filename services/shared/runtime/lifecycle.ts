import type { Logger } from "./log.ts";

/**
 * Runs a process until it is told to stop: SIGTERM or SIGINT aborts `signal`, `run` then has `drainMs` to hand back its work.
 * A second signal, or the end of the drain, exits at once with 1: what was claimed is taken over by others.
 */
export async function runUntilStopped(log: Logger, drainMs: number, run: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const stop = new AbortController();
  const onSignal = (name: NodeJS.Signals) => {
    if (stop.signal.aborted) process.exit(1);
    log.info({ signal: name }, "stopping");
    stop.abort(new Error(`stopped by ${name}`));
    setTimeout(() => {
      log.error({ drainMs }, "drain took too long: leaving the rest to others");
      process.exit(1);
    }, drainMs).unref();
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  try {
    await run(stop.signal);
  } finally {
    process.off("SIGTERM", onSignal);
    process.off("SIGINT", onSignal);
  }
}
