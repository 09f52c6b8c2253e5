import type { Logger } from "./log.ts";

const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP"] as const;

/**
 * Runs a process until it is told to stop: SIGTERM, SIGINT or the end of its terminal aborts `signal`, and `run` then
 * has `drainMs` to hand back its work. A second signal, or the end of the drain, ends the process at once: other
 * workers take over its claims.
 */
export async function runUntilStopped(log: Logger, drainMs: number, run: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const stop = new AbortController();
  const onSignal = (name: NodeJS.Signals) => {
    if (stop.signal.aborted) endAtOnce();
    log.info({ signal: name }, "stopping");
    stop.abort(new Error(`stopped by ${name}`));
    setTimeout(() => {
      log.error({ drainMs }, "drain took too long: leaving the rest to others");
      endAtOnce();
    }, drainMs).unref();
  };
  for (const name of SIGNALS) process.on(name, onSignal);
  try {
    await run(stop.signal);
  } catch (error) {
    if (error !== stop.signal.reason) throw error;
  } finally {
    for (const name of SIGNALS) process.off(name, onSignal);
  }
}

/**
 * Kills this process, whatever its threads do: `process.exit` would wait for a native call to return, and a call that
 * hangs does not.
 */
export function endAtOnce(): never {
  process.kill(process.pid, "SIGKILL");
  throw new Error("a killed process goes no further");
}
