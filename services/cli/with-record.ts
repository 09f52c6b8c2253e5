import type { Bus } from "../shared/bus/contract.ts";
import { busFromConfig } from "../shared/bus/from-config.ts";
import { reached } from "../shared/bus/reached.ts";
import type { BusSettings } from "../shared/bus/settings.ts";
import type { Config } from "../shared/runtime/config.ts";

const READY_MS = 5_000;

/** What a command does with the record of LONGSHORE_NATS_URL. Who waits for it reads so on standard error. */
export async function withRecord<T>(config: Config, streams: BusSettings["streams"], work: (bus: Bus) => Promise<T>): Promise<T> {
  const bus = busFromConfig(config, { streams });
  try {
    await reached(bus, { ms: READY_MS, say: (text) => console.error(`longshore: ${text}`), patient: false });
    return await work(bus);
  } finally {
    await bus.close();
  }
}
