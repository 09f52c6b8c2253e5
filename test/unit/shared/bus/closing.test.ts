import { once } from "node:events";
import { type AddressInfo, createServer, type Server } from "node:net";
import { afterEach, expect, test } from "vitest";
import { openBus } from "../../../../services/shared/bus/open.ts";

let servers: Server[] = [];
afterEach(() => {
  for (const server of servers) server.close();
  servers = [];
});

test("who closes while servers that say nothing are dialled waits for the try under way, not for those behind it", async () => {
  let dials = 0;
  const dialled = new Promise<void>((resolve) => {
    servers = Array.from({ length: 5 }, () =>
      createServer((socket) => {
        dials++;
        socket.on("error", () => {});
        resolve();
      }).listen(0, "127.0.0.1"),
    );
  });
  await Promise.all(servers.map((server) => once(server, "listening")));
  const bus = openBus({
    url: servers.map((server) => `nats://127.0.0.1:${(server.address() as AddressInfo).port}`).join(),
    streams: "none",
  });
  await dialled;
  await bus.close();
  expect(dials).toBe(1);
});
