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
  const api = await testApi(files);
  const { hostname, port } = new URL(api.url);
  const mute = connect(Number(port), hostname);
  await once(mute, "connect");
  const cut = once(mute, "close");
  await api.close();
  await cut;
}, 15_000);

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
