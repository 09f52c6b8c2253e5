import { cpus } from "node:os";
import type { Phase } from "../bus/events.ts";
import { busFromConfig } from "../bus/from-config.ts";
import { reached } from "../bus/reached.ts";
import { engineFromConfig, type OpenedEngine, sumsFromConfig } from "../engine/from-config.ts";
import { listPaths, slowPathWarning } from "../engine/kernels.ts";
import { systemClock } from "../runtime/clock.ts";
import { type Config, requireServers } from "../runtime/config.ts";
import type { ServingError } from "../runtime/errors.ts";
import { endAtOnce, runUntilStopped } from "../runtime/lifecycle.ts";
import { openLog } from "../runtime/log.ts";
import { openMetrics } from "../runtime/metrics.ts";
import { systemRandom } from "../runtime/random.ts";
import { openStatusServer } from "../runtime/status.ts";
import { storeFromConfig } from "../segments/from-config.ts";
import { type WorkerDeps, type WorkerSettings, workerSettings } from "./deps.ts";
import { measured } from "./measured-engine.ts";
import { Pulse } from "./pulse.ts";
import { watched } from "./watched-engine.ts";

/** How long a worker waits for the record when it starts. */
const READY_MS = 30_000;

interface WorkerRun {
  readonly deps: WorkerDeps;
  readonly settings: WorkerSettings;
  readonly opened: OpenedEngine;
}

/** One worker as a process of its own, until it is told to stop or its engine is beyond help. */
export async function workerProcess(
  role: Phase,
  config: Config,
  work: (run: WorkerRun, stop: AbortSignal) => Promise<void>,
): Promise<void> {
  requireServers(config, "natsUrl", "redisUrl");
  const log = openLog(role, config.logLevel);
  const clock = systemClock;
  const metrics = openMetrics({ process: true });
  const bus = busFromConfig(config, { tell: { log, metrics } });
  const store = storeFromConfig(config, { clock, log, random: systemRandom, metrics, sums: await sumsFromConfig(config) });
  let opened: OpenedEngine | null = null;
  const ended = new AbortController();
  const onStall = (error: ServingError) => {
    log.fatal({ err: error }, "the engine hangs: leaving the work to others");
    endAtOnce();
  };
  const failure = () => opened?.failure()?.message ?? null;
  let away: string | null = null;
  const status = { healthy: failure, ready: () => (opened === null ? "starting" : (failure() ?? away)), metrics };
  const server = await openStatusServer(config.host, config.statusPort, status);
  try {
    await reached(bus, { ms: READY_MS, say: (text) => log.warn(text), patient: true });
    opened = await engineFromConfig(config);
    const { engine, model } = opened;
    const settings = workerSettings(config, model, systemRandom.id(`${role}_`));
    const deps: WorkerDeps = {
      bus,
      engine: measured(watched(engine, clock, config.stallMs, ended.signal, onStall), clock, metrics),
      engineFailure: opened.failure,
      grammars: opened.grammars,
      pulse: new Pulse(),
      store,
      clock,
      log,
      metrics,
      onReach: (problem) => {
        away = problem;
      },
    };
    const { kernelPath } = engine.info;
    const slow = config.kernelPath === "" ? slowPathWarning(kernelPath, listPaths, cpus()[0]?.model ?? process.arch) : null;
    if (slow !== null) log.warn({ kernelPath }, slow);
    log.info({ port: server.port, model, worker: settings.worker, kernelPath }, "ready");
    const run: WorkerRun = { deps, settings, opened };
    await runUntilStopped(log, config.drainMs, (stop) => work(run, stop));
    await engine.shutdown();
  } finally {
    ended.abort();
    await Promise.all([server.close(), store.close(), bus.close()]);
  }
}
