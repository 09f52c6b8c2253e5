import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { expect, test } from "vitest";
import { probe } from "../../../services/cli/cluster/probe.ts";

const half = "HTTP/1.1 503 x\r\ncontent-length: 99\r\n\r\nstarting";

test.each([
  ["http", "in the middle of its answer", (socket: Socket) => socket.once("data", () => socket.end(half))],
  ["http", "before it answers", (socket: Socket) => socket.once("data", () => socket.end())],
  ["redis", "before it answers", (socket: Socket) => socket.once("data", () => socket.end())],
] as const)("a %s server that closes %s has not answered", async (kind, _, serve) => {
  const server = createServer((socket) => void serve(socket.on("error", () => {}))).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  expect(await probe(kind === "http" ? { kind, port, path: "/ready" } : { kind, port })).toMatch(/was cut off|hang up|reset|aborted/);
  server.close();
});
