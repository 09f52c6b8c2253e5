import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { freePort } from "../../../services/cli/cluster/ports.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { NatsServer } from "../../support/nats.ts";

const REFUSED = "NATS does not answer (user or password refused); check the user and password in LONGSHORE_NATS_URL";
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
    await expect.poll(said, { timeout: 60_000 }).toBe(REFUSED);
    await bus.close();
  }
  const bus = openBus({ url: `nats://u:right@127.0.0.1:${one}`, streams: "none" });
  await bus.ready(60_000);
  await bus.close();
});

test("a process that is refused while it runs says so, not that its connection broke, and is let in again", async () => {
  const server = await NatsServer.start(undefined, 'authorization { user: u, password: "right" }\n');
  servers.push(server);
  const bus = openBus({ url: `nats://u:right@127.0.0.1:${server.port}`, streams: "none" });
  const said = () =>
    bus.ready(100).then(
      () => "ready",
      (error: Error) => error.message,
    );
  await expect.poll(said).toBe("ready");
  reload(server, "right", "other");
  await expect.poll(said).toBe(REFUSED);
  reload(server, "other", "right");
  await expect.poll(said).toBe("ready");
  await bus.close();
});

function reload({ directory, pid }: NatsServer, from: string, to: string): void {
  const path = join(directory, "server.conf");
  writeFileSync(path, readFileSync(path, "utf8").replace(`password: "${from}"`, `password: "${to}"`));
  process.kill(pid!, "SIGHUP");
}
