import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { type AddressInfo, connect } from "node:net";
import { connect as connectSafely } from "node:tls";
import { expect, test } from "vitest";
import { Connections } from "../../../services/api/http/connection.ts";
import { HANDSHAKE_MS, Handshakes } from "../../../services/api/http/handshakes.ts";
import { testApi } from "../../support/api.ts";

const files = { tlsCertFile: "test/support/tls/cert.pem", tlsKeyFile: "test/support/tls/key.pem" };

test("who connected and never began TLS does not hold up the stop of a replica", async () => {
  const api = await testApi({ ...files, grpcPort: 0 });
  const mute = [new URL(api.url).host, api.grpc!].map((address) => {
    const [host, port] = address.split(":");
    return connect(Number(port), host);
  });
  await Promise.all(mute.map((socket) => once(socket, "connect")));
  const cut = mute.map((socket) => once(socket, "close"));
  await api.close();
  await Promise.all(cut);
}, 60_000); // half of the time that Node gives TLS to begin

test("who connects and brings TLS to no end is let go after ten seconds, who sends no TLS before that; others are served meanwhile", async () => {
  const api = await testApi({ ...files, grpcPort: 0 });
  const ports = [api.url, `https://${api.grpc}`].map((url) => Number(new URL(url).port));
  const from = (write: string) =>
    ports.map((port) => {
      const socket = connect(port, "127.0.0.1").on("error", () => {});
      socket.write(write);
      return once(socket.resume(), "close");
    });
  const startMs = performance.now();
  const [mute, slow] = [from(""), from("\x16\x03\x01\x02\x00")];
  await Promise.all(from("GET / HTTP/1.1\r\n\r\n"));
  expect(performance.now() - startMs).toBeLessThan(HANDSHAKE_MS);
  const safe = connectSafely({ port: ports[0]!, host: "127.0.0.1", rejectUnauthorized: false });
  await once(safe, "secureConnect");
  await Promise.all([...mute, ...slow]);
  expect(performance.now() - startMs).toBeGreaterThanOrEqual(HANDSHAKE_MS - 100);
  safe.write("GET /health HTTP/1.1\r\nhost: x\r\n\r\n");
  expect(String((await once(safe, "data"))[0])).toMatch(/^HTTP\/1.1 200 /);
  safe.destroy();
  await api.close();
}, 60_000); // half of the time that Node gives TLS to begin

test("of the connections on which TLS is not there yet there are as many as may be: the oldest goes, and nobody who has it", async () => {
  const server = createServer({ cert: readFileSync(files.tlsCertFile), key: readFileSync(files.tlsKeyFile) }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const connections = new Connections(server, new Handshakes(2));
  const { port } = server.address() as AddressInfo;
  const safe = connectSafely({ port, host: "127.0.0.1", rejectUnauthorized: false });
  await once(safe, "secureConnect");
  const mute = [];
  for (let i = 0; i < 3; i++) {
    mute.push(connect(port, "127.0.0.1").on("error", () => {}));
    await once(mute[i]!, "connect");
  }
  await once(mute[0]!.resume(), "close");
  expect([connections.size, mute[1]!.closed, mute[2]!.closed, safe.closed]).toEqual([3, false, false, false]);
  connections.cut();
  server.close();
});

test("a connection is known until it closes, with TLS or before it", async () => {
  const server = createServer({ cert: readFileSync(files.tlsCertFile), key: readFileSync(files.tlsKeyFile) }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const connections = new Connections(server);
  const { port } = server.address() as AddressInfo;
  const mute = connect(port, "127.0.0.1");
  const safe = connectSafely({ port, host: "127.0.0.1", rejectUnauthorized: false });
  await once(safe, "secureConnect");
  await expect.poll(() => connections.size).toBe(2);
  safe.destroy();
  mute.destroy();
  await expect.poll(() => connections.size).toBe(0);
  server.close();
});
