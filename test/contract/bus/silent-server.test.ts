import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { afterEach, expect, test } from "vitest";
import { openBus } from "../../../services/shared/bus/open.ts";
import { NatsServer } from "../../support/nats.ts";

const silent: Silent[] = [];
afterEach(async () => {
  for (const one of silent.splice(0)) await one.stop();
});

/** Accepts, as the system does for a server that is frozen, and says nothing. */
class Silent {
  readonly #server: Server;
  readonly open = new Set<Socket>();
  accepted = 0;

  private constructor() {
    this.#server = createServer((socket) => {
      this.accepted++;
      this.open.add(socket);
      socket.on("error", () => {});
      socket.once("close", () => this.open.delete(socket));
    });
  }

  static async start(port = 0): Promise<Silent> {
    const made = new Silent();
    silent.push(made);
    await once(made.#server.listen(port, "127.0.0.1"), "listening");
    return made;
  }

  get url(): string {
    return `nats://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    for (const socket of this.open) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

test.each(["from the beginning", "after it was there"])(
  "a server that says nothing %s costs a process one connection, and none that goes on",
  async (when) => {
    const nats = when === "after it was there" ? await NatsServer.start() : null;
    const there = nats === null ? await Silent.start() : null;
    const bus = openBus({ url: nats?.url ?? there!.url, tryMs: 100, streams: "none" });
    if (nats !== null) {
      await bus.ready(60_000);
      await nats.kill();
    }
    const server = there ?? (await Silent.start(nats!.port));
    await expect.poll(() => server.accepted, { timeout: 60_000 }).toBeGreaterThan(5);
    await expect.poll(() => server.open.size).toBeLessThanOrEqual(2);
    await bus.close();
    await expect.poll(() => server.open.size).toBe(0);
    await nats?.stop();
  },
);

test("of several servers one that says nothing costs no more", async () => {
  const both = [await Silent.start(), await Silent.start()];
  const bus = openBus({ url: both.map(({ url }) => url).join(), tryMs: 100, streams: "none" });
  await expect.poll(() => both[0]!.accepted + both[1]!.accepted, { timeout: 60_000 }).toBeGreaterThan(12);
  await expect.poll(() => both[0]!.open.size + both[1]!.open.size).toBeLessThanOrEqual(4);
  await bus.close();
  await expect.poll(() => both[0]!.open.size + both[1]!.open.size).toBe(0);
});

test("a more patient connection that is closed does not count", async () => {
  const patient = openBus({ url: "nats://127.0.0.1:9", tryMs: 60_000, streams: "none" });
  await patient.close();
  const server = await Silent.start();
  const bus = openBus({ url: server.url, tryMs: 100, streams: "none" });
  await expect.poll(() => server.accepted, { timeout: 60_000 }).toBeGreaterThan(5);
  await expect.poll(() => server.open.size).toBeLessThanOrEqual(2);
  await bus.close();
  await expect.poll(() => server.open.size).toBe(0);
});
