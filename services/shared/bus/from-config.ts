import type { Config } from "../runtime/config.ts";
import type { Bus } from "./contract.ts";
import type { OnDamage } from "./damage.ts";
import { openBus } from "./open.ts";

/** The bus a process of the cluster uses: every process with the same settings meets the others there. */
export function busFromConfig(config: Config, onDamage: OnDamage = () => {}): Bus {
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
    onDamage,
  });
}
