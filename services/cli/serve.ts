import { type RunningApi, startApi } from "../api/api.ts";
import { openServedModel } from "../api/model.ts";
import { checkWebhook } from "../batch/check-webhook.ts";
import { coordinate } from "../batch/coordinator.ts";
import { systemClock } from "../shared/runtime/clock.ts";
import type { Config } from "../shared/runtime/config.ts";
import type { Logger } from "../shared/runtime/log.ts";
import { openMetrics } from "../shared/runtime/metrics.ts";
import { systemRandom } from "../shared/runtime/random.ts";
import { type Embedded, startEmbedded } from "./embedded.ts";

export interface Served {
  readonly cluster: Embedded;
  readonly api: RunningApi;
  stop(): Promise<void>;
}

/** The embedded cluster with its API and a coordinator of batches. */
export async function serveEmbedded(config: Config, log: Logger): Promise<Served> {
  checkWebhook(config);
  const metrics = openMetrics({ process: true });
  const model = await openServedModel(config);
  const cluster = await startEmbedded({ config, log, metrics });
  try {
    const deps = { config, bus: cluster.bus, model, clock: systemClock, random: systemRandom, log, metrics };
    const api = await startApi(deps);
    const stopping = new AbortController();
    const coordinator = coordinate(deps, stopping.signal);
    return {
      cluster,
      api,
      stop: async () => {
        stopping.abort(new Error("shutting down"));
        await api.close();
        await coordinator;
        await cluster.stop();
      },
    };
  } catch (error) {
    await cluster.stop();
    throw error;
  }
}
