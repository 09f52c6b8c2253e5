import { openServedModel } from "../api/model.ts";
import { busFromConfig } from "../shared/bus/from-config.ts";
import { reached } from "../shared/bus/reached.ts";
import { systemClock } from "../shared/runtime/clock.ts";
import { type Config, requireServers } from "../shared/runtime/config.ts";
import { runUntilStopped } from "../shared/runtime/lifecycle.ts";
import { openLog } from "../shared/runtime/log.ts";
import { openMetrics } from "../shared/runtime/metrics.ts";
import { systemRandom } from "../shared/runtime/random.ts";
import { openStatusServer } from "../shared/runtime/status.ts";
import { checkWebhook } from "./check-webhook.ts";
import { coordinate } from "./coordinator.ts";

/** How long a coordinator waits for the record when it starts. */
const READY_MS = 30_000;
/** How long it waits for it where somebody asks whether it is ready. */
const ASKED_MS = 2_000;

/** The role of batches: one coordinator, until it is told to stop. */
export async function runBatchCoordinator(config: Config): Promise<void> {
  requireServers(config, "natsUrl");
  checkWebhook(config);
  const log = openLog("batch", config.logLevel);
  const metrics = openMetrics({ process: true });
  const bus = busFromConfig(config, { tell: { log, metrics } });
  let opened = false;
  const away = () =>
    bus.ready(ASKED_MS).then(
      () => null,
      (error: Error) => error.message,
    );
  const status = { healthy: () => null, ready: () => (opened ? away() : "starting"), metrics };
  const server = await openStatusServer(config.host, config.statusPort, status);
  try {
    const model = await openServedModel(config);
    await reached(bus, { ms: READY_MS, say: (text) => log.warn(text), patient: true });
    opened = true;
    log.info({ port: server.port, model: model.name }, "ready");
    const deps = { bus, model, config, log, metrics, clock: systemClock, random: systemRandom };
    await runUntilStopped(log, config.drainMs, (stop) => coordinate(deps, stop));
  } finally {
    await Promise.all([server.close(), bus.close()]);
  }
}
