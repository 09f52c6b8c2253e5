import type { Config } from "../runtime/config.ts";
import type { Logger } from "../runtime/log.ts";
import type { Metrics } from "../runtime/metrics.ts";
import type { Bus } from "./contract.ts";
import { tellDamage } from "./damage.ts";
import { openBus } from "./open.ts";
import type { BusSettings } from "./settings.ts";
import { tellWaits } from "./waits.ts";

interface Opening {
  /** Where the bus reports damage, waits and limits that stay. */
  readonly tell?: { readonly log: Logger; readonly metrics: Metrics };
  readonly streams?: BusSettings["streams"];
}

/** The bus a process of the cluster uses: every process with the same settings meets the others there. */
export function busFromConfig(config: Config, { tell, streams = "all" }: Opening = {}): Bus {
  return openBus({
    url: config.natsUrl,
    prefix: config.natsPrefix,
    replicas: config.natsReplicas,
    claimMs: config.claimMs,
    attemptsMax: config.attemptsMax,
    logMaxBytes: config.logMaxBytes,
    payloadsMaxBytes: config.payloadsMaxBytes,
    filesMaxBytes: config.filesMaxBytes,
    logMaxAgeMs: config.logMaxAgeSeconds * 1_000,
    queueMessagesMax: config.queueJobsMax,
    beatLifeMs: 5 * config.beatMs,
    streams,
    ...(tell !== undefined && { onDamage: tellDamage(tell.log, tell.metrics), onKept: tellKept(tell.log), onWait: tellWaits(tell.log) }),
  });
}

/** Logs once, until something else is kept: the record is prepared again after every reconnect. */
function tellKept(log: Logger): BusSettings["onKept"] {
  let told = "";
  return (kept) => {
    if (told === kept.join()) return;
    told = kept.join();
    log.warn(
      { kept },
      "the record keeps more than this process asks for: give it the settings of the others, or lower the limits of its streams with `nats stream edit` once all ask for less",
    );
  };
}
