import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import { silentLog } from "../../../services/shared/runtime/log.ts";
import { systemRandom } from "../../../services/shared/runtime/random.ts";
import { RedisServers } from "../../../services/shared/segments/redis/servers.ts";
import { parseRedisUrls } from "../../../services/shared/segments/redis/target.ts";
import { zlibSums } from "../../../services/shared/segments/sums.ts";

/** Servers whose system takes connections and that say nothing, not even that they end. */
async function frozen(onSocket: (socket: Socket) => void): Promise<Server> {
  const sockets: Socket[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket.on("error", () => {}));
    onSocket(socket);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return server;
}
const portOf = (server: Server) => (server.address() as AddressInfo).port;

test("who closes while a node that stands still is asked for the map asks nobody else", async () => {
  let began = () => {};
  const begun = new Promise<void>((resolve) => {
    began = resolve;
  });
  const first = await frozen(() => began());
  let others = 0;
  const master = await frozen(() => others++);
  const second = await frozen((socket) => {
    others++;
    socket.on("data", (bytes) => {
      for (const command of bytes
        .toString()
        .split(/^\*\d+\r\n/m)
        .slice(1)) {
        if (/\bslots\b/i.test(command)) socket.write(`*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:${portOf(master)}\r\n`);
        else socket.write(/^info$/im.test(command) ? "$9\r\nloading:0\r\n" : "+OK\r\n");
      }
    });
  });
  const urls = [first, second].map((server) => `redis://127.0.0.1:${portOf(server)}`).join();
  const options = {
    connections: 1,
    timeoutMs: 5_000,
    random: systemRandom,
    sums: zlibSums,
    clock: systemClock,
    log: silentLog,
    onLeft: () => {},
    onWhole: () => {},
  };
  const servers = new RedisServers(parseRedisUrls(urls), options);
  await begun;
  await servers.close();
  expect(others).toBe(0);
}, 20_000);
