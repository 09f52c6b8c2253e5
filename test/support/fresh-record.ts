import { afterAll, beforeAll } from "vitest";
import type { Bus } from "../../services/shared/bus/contract.ts";
import { openBus } from "../../services/shared/bus/open.ts";
import type { BusOptions } from "../../services/shared/bus/settings.ts";
import { NatsServer } from "./nats.ts";

type Options = BusOptions & { readonly prefix: string };

/** For a file of tests: one nats-server while they run, and for each call an empty record of its own. */
export function freshRecord(defaults: Partial<BusOptions>) {
  let server: NatsServer;
  let records = 0;
  const buses: Bus[] = [];

  beforeAll(async () => {
    server = await NatsServer.start();
  });
  afterAll(async () => {
    for (const bus of buses) await bus.close();
    await server.stop();
  });

  /** What `open` opens on such a record, ready; its bus is closed after the last test. */
  async function opened<Open extends { readonly bus: Bus }>(
    open: (options: Options) => Open,
    kind: string,
    more: Partial<BusOptions> = {},
  ): Promise<Open> {
    const found = open({ url: kind === "memory" ? "memory:" : server.url, prefix: `t${++records}`, ...defaults, ...more });
    buses.push(found.bus);
    await found.bus.ready(60_000);
    return found;
  }

  const fresh = async (kind: string, more: Partial<BusOptions> = {}): Promise<Bus> =>
    (await opened((options) => ({ bus: openBus(options) }), kind, more)).bus;

  return { fresh, opened, natsUrl: () => server.url };
}
