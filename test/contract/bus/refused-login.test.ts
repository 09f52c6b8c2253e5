import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { freePort } from "../../../services/cli/cluster/ports.ts";
import type { RecordAway } from "../../../services/shared/bus/away.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { NatsServer } from "../../support/nats.ts";

const REFUSED = "NATS does not answer (user or password refused); check the user and password in LONGSHORE_NATS_URL";
const servers: NatsServer[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.stop()));
});

/** Servers of one cluster tell their clients of each other, also those whom they do not let in: asked without a pause they are asked a hundred times a second. */
test("a cluster that does not let us in is not asked again and again without a pause, and says why", async () => {
  const ports = await Promise.all([freePort(), freePort()]);
  const https = await Promise.all([freePort(), freePort()]);
  const routes = ports.map((port) => `"nats://127.0.0.1:${port}"`).join(", ");
  const cluster = (port: number, i: number) =>
    `server_name: "${i}"\nhttp: "127.0.0.1:${https[i]}"\nauthorization { user: u, password: right }\ncluster { name: c, listen: "127.0.0.1:${port}", routes: [${routes}] }\n`;
  servers.push(...(await Promise.all(ports.map((port, i) => NatsServer.start(undefined, cluster(port, i))))));
  const [one, other] = servers.map(({ port }) => port);
  for (const url of [`nats://u:wrong@127.0.0.1:${one}`, `nats://u:wrong@127.0.0.1:${one},nats://127.0.0.1:${other}`]) {
    const bus = openBus({ url, streams: "none" });
    const said = (ms = 100) => bus.ready(ms).catch((error: Error) => error.message);
    await expect.poll(() => said(), { timeout: 60_000 }).toBe(REFUSED);
    const dialsBefore = await dials(https);
    expect(await said(2_000)).toBe(REFUSED);
    expect((await dials(https)) - dialsBefore).toBeLessThan(60);
    await bus.close();
  }
  const bus = openBus({ url: `nats://u:right@127.0.0.1:${one}`, streams: "none" });
  await bus.ready(60_000);
  await bus.close();
});

/** So many connections the servers have had. */
async function dials(https: readonly number[]): Promise<number> {
  const counts = await Promise.all(
    https.map(async (port) => {
      const { total_connections } = (await (await fetch(`http://127.0.0.1:${port}/varz`)).json()) as { total_connections: number };
      return total_connections;
    }),
  );
  return counts[0]! + counts[1]!;
}

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

test("of several servers the one that refuses us is told of, whichever was asked last", async () => {
  const server = await NatsServer.start(undefined, 'authorization { user: u, password: "right" }\n');
  servers.push(server);
  const [at, nobody] = [`127.0.0.1:${server.port}`, `127.0.0.1:${await freePort()}`];
  for (const named of [
    [at, nobody],
    [nobody, at],
  ]) {
    const bus = openBus({ url: named.map((host) => `nats://u:wrong@${host}`).join(), streams: "none" });
    const said = () => bus.ready(100).catch((error: RecordAway) => error);
    await expect.poll(said).toMatchObject({ message: REFUSED, told: expect.stringContaining(`NATS at ${at} does`), lasts: true });
    await bus.close();
  }
});
