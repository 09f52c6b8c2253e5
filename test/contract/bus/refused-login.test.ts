import { afterEach, expect, test } from "vitest";
import { freePort } from "../../../services/cli/cluster/ports.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { NatsServer } from "../../support/nats.ts";

const servers: NatsServer[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.stop()));
});

/** Servers of one cluster tell their clients of each other, also those whom they do not let in. */
test("a cluster that does not let us in is not asked again and again without a pause, and says why", async () => {
  const ports = await Promise.all([freePort(), freePort()]);
  const routes = ports.map((port) => `"nats://127.0.0.1:${port}"`).join(", ");
  const cluster = (port: number, i: number) =>
    `server_name: "${i}"\nauthorization { user: u, password: right }\ncluster { name: c, listen: "127.0.0.1:${port}", routes: [${routes}] }\n`;
  servers.push(...(await Promise.all(ports.map((port, i) => NatsServer.start(undefined, cluster(port, i))))));
  const [one, other] = servers.map(({ port }) => port);
  for (const url of [`nats://u:wrong@127.0.0.1:${one}`, `nats://u:wrong@127.0.0.1:${one},nats://127.0.0.1:${other}`]) {
    const bus = openBus({ url, streams: "none" });
    const said = () => bus.ready(100).catch((error: Error) => error.message);
    const refused = "NATS does not answer (user or password refused); check the user and password in LONGSHORE_NATS_URL";
    await expect.poll(said, { timeout: 60_000 }).toBe(refused);
    await bus.close();
  }
  const bus = openBus({ url: `nats://u:right@127.0.0.1:${one}`, streams: "none" });
  await bus.ready(60_000);
  await bus.close();
});
