import { afterEach, beforeEach } from "vitest";
import type { Bus } from "../../services/shared/bus/contract.ts";
import { openBus } from "../../services/shared/bus/open.ts";
import type { BusOptions } from "../../services/shared/bus/settings.ts";
import { NatsServer } from "./nats.ts";
import { LossyProxy } from "./proxy.ts";

const MIB = 1_048_576;

/**
 * For a file of tests that harm their server: each test has a nats-server of its own, with a proxy in front that loses
 * what it is told to.
 */
export function ownServer() {
  let server: NatsServer;
  let proxy: LossyProxy;
  let opened: Bus[];

  beforeEach(async () => {
    opened = [];
    server = await NatsServer.start();
    proxy = await LossyProxy.start(server.port);
  });
  afterEach(async () => {
    server.thaw();
    for (const bus of opened) await bus.close();
    await proxy.stop();
    await server.stop();
  });

  function open(options: Partial<BusOptions> = {}): Bus {
    const bus = openBus({ url: server.url, logMaxBytes: 64 * MIB, payloadsMaxBytes: 64 * MIB, tryMs: 300, answerMs: 2_000, ...options });
    opened.push(bus);
    return bus;
  }
  async function ready(options: Partial<BusOptions> = {}): Promise<Bus> {
    const bus = open(options);
    await bus.ready(60_000);
    return bus;
  }
  const throughProxy = (options: Partial<BusOptions> = {}) => ready({ url: `nats://127.0.0.1:${proxy.port}`, ...options });

  return {
    get server() {
      return server;
    },
    get proxy() {
      return proxy;
    },
    open,
    ready,
    throughProxy,
  };
}
