import { setTimeout as sleep } from "node:timers/promises";
import { connect, type NatsConnection } from "nats";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freePort } from "../../../services/cli/cluster/ports.ts";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { never } from "../../support/bus.ts";
import { APPENDS, losesNothing } from "../../support/loses-nothing.ts";
import { NatsServer } from "../../support/nats.ts";

const SERVERS = 3;
let servers: NatsServer[];
let bus: Bus;
let hand: NatsConnection;

beforeAll(async () => {
  const ports = await Promise.all(Array.from({ length: SERVERS }, freePort));
  const routes = ports.map((port) => `"nats://127.0.0.1:${port}"`).join(", ");
  const cluster = (port: number, i: number) =>
    `server_name: "${i}"\ncluster { name: c, listen: "127.0.0.1:${port}", routes: [${routes}] }\n`;
  servers = await Promise.all(ports.map((port, i) => NatsServer.start(undefined, cluster(port, i))));
  const urls = servers.map(({ url }) => url);
  bus = openBus({ url: urls.join(","), replicas: SERVERS, answerMs: 60_000, logMaxBytes: 1e8, payloadsMaxBytes: 1e8 });
  await bus.ready(60_000);
  hand = await connect({ servers: urls });
});
afterAll(async () => {
  await hand?.close();
  await bus?.close();
  await Promise.all(servers?.map((server) => server.stop()) ?? []);
});

async function leaderOf(stream: string): Promise<NatsServer> {
  for (const endMs = Date.now() + 60_000; Date.now() < endMs; await sleep(100)) {
    const asked = hand.jetstreamManager().then((manager) => manager.streams.info(stream));
    const leader = await asked.then(({ cluster }) => cluster?.leader).catch(() => undefined); // while none is elected nobody may answer
    if (leader) return servers[Number(leader)]!;
  }
  throw new Error(`${stream} has no leader`);
}

test("kill -9 of the record's leader, again and again, loses no acknowledged event and no message", async () => {
  await losesNothing(bus, bus, async (acknowledged) => {
    for (const stream of ["LONGSHORE_LOG", "LONGSHORE_PREFILL", "LONGSHORE_LOG"]) {
      const before = acknowledged.length;
      while (acknowledged.length < Math.min(APPENDS, before + 50)) await sleep(1);
      await bus.queue.publish("prefill", "m", "batch", { jobId: `beside ${stream} ${before}`, promptTokens: 1 });
      const leader = await leaderOf(stream);
      await leader.kill();
      await bus.queue.publish("prefill", "m", "batch", { jobId: `without ${stream} ${before}`, promptTokens: 1 });
      await leader.restart();
    }
  });
  const given = new Set<string>();
  while (given.size < 6) {
    const message = await bus.queue.pull("prefill", "m", 10_000, never);
    expect(message, `given so far: ${[...given].join(", ")}`).not.toBeNull();
    given.add(message!.item.jobId);
    message!.ack();
  }
}, 240_000);
