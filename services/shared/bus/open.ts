import type { Bus } from "./contract.ts";
import { memoryBus } from "./memory/bus.ts";
import { natsBus } from "./nats/bus.ts";
import { type BusOptions, busSettings } from "./settings.ts";

/** The bus behind `url`. Returns at once and connects by itself; `ready` says whether the record answers. */
export function openBus(options: BusOptions): Bus {
  const settings = busSettings(options);
  return settings.url.startsWith("memory:") ? memoryBus(settings) : natsBus(settings);
}
