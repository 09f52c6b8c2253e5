import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { type AddressInfo, connect } from "node:net";
import { connect as connectSafely } from "node:tls";
import { expect, test } from "vitest";
import { Connections } from "../../../services/api/http/connection.ts";
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
