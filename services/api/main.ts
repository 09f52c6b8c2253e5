import type { Bus } from "../shared/bus/contract.ts";
import { busFromConfig } from "../shared/bus/from-config.ts";
import { systemClock } from "../shared/runtime/clock.ts";
import { type Config, requireServers } from "../shared/runtime/config.ts";
import { isUnavailable } from "../shared/runtime/errors.ts";
import { runUntilStopped } from "../shared/runtime/lifecycle.ts";
import { openLog } from "../shared/runtime/log.ts";
import { openMetrics } from "../shared/runtime/metrics.ts";
import { systemRandom } from "../shared/runtime/random.ts";
import { startApi } from "./api.ts";
import { openServedModel } from "./model.ts";

/** The api role: one replica, until it is told to stop. */
export async function runApi(config: Config): Promise<void> {
  requireServers(config, "natsUrl");
  const log = openLog("api", config.logLevel);
  const model = await openServedModel(config);
  const metrics = openMetrics({ process: true });
  const bus = busFromConfig(config, { tell: { log, metrics } });
  const deps = { config, bus, model, log, clock: systemClock, random: systemRandom, metrics };
  const isRefused = refused(bus);
  const api = await Promise.race([startApi(deps), isRefused]);
  log.info({ url: api.url, grpc: api.grpc, model: model.name }, "listening");
  await runUntilStopped(log, config.drainMs, async (stop) => {
    const stopped = new Promise((resolve) => stop.addEventListener("abort", resolve, { once: true }));
    await Promise.race([stopped, isRefused]);
    await api.close();
    await bus.close();
  });
}

/** Rejects when the record refuses our settings; a record that is away is waited for. */
async function refused(bus: Bus): Promise<never> {
  await bus.ready(Number.POSITIVE_INFINITY).catch((error: unknown) => {
    if (!isUnavailable(error)) throw error;
  });
  return new Promise(() => {});
}
