import { execFile } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { connect, type NatsConnection, type StreamConfig } from "nats";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freePort } from "../../../services/cli/cluster/ports.ts";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import { layout } from "../../../services/shared/bus/nats/layout.ts";
import { names } from "../../../services/shared/bus/nats/subjects.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { busSettings } from "../../../services/shared/bus/settings.ts";
import { never } from "../../support/bus.ts";
import { APPENDS, losesNothing } from "../../support/loses-nothing.ts";
import { NatsServer } from "../../support/nats.ts";
import { commandLine } from "../../support/role-process.ts";

const SERVERS = 3;
const STREAMS = 12;
let servers: NatsServer[];
let urls: string[];
let bus: Bus;
let hand: NatsConnection;

beforeAll(async () => {
  const ports = await Promise.all(Array.from({ length: SERVERS }, freePort));
  const routes = ports.map((port) => `"nats://127.0.0.1:${port}"`).join(", ");
  const cluster = (port: number, i: number) =>
    `server_name: "${i}"\ncluster { name: c, listen: "127.0.0.1:${port}", routes: [${routes}] }\n`;
  servers = await Promise.all(ports.map((port, i) => NatsServer.start(undefined, cluster(port, i))));
  urls = servers.map(({ url }) => url);
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

/** Of every stream of a record; each answers once it has a leader. Lists may lag behind, one by one they do not. */
async function configs(prefix: string): Promise<readonly StreamConfig[]> {
  const { streams } = await hand.jetstreamManager();
  const all = layout(names(prefix), busSettings({ url: urls[0]! })).map(({ config }) => config.name);
  const found: StreamConfig[] = [];
  for (const name of all) {
    await leaderOf(name);
    found.push((await streams.info(name)).config);
  }
  return found;
}

test("`longshore keys` leaves every stream as it is, whatever its shell says of them", async () => {
  const before = await configs("longshore");
  const env = { PATH: process.env.PATH, LONGSHORE_NATS_URL: urls.join(",") };
  const { stdout } = await promisify(execFile)(process.execPath, commandLine("keys", "create", "ada"), { env });
  expect(stdout).toMatch(/^lsk_/);
  expect(await configs("longshore")).toEqual(before);
  expect(before[0]).toMatchObject({ name: "LONGSHORE_LOG", num_replicas: SERVERS, max_bytes: 1e8 });
}, 120_000);

test("copies are added by whoever asks for more, and taken by nobody who asks for less", async () => {
  const told: string[] = [];
  const prepare = async (replicas: number) => {
    const one = openBus({
      url: urls.join(","),
      prefix: "copies",
      replicas,
      answerMs: 60_000,
      logMaxBytes: 1e8,
      payloadsMaxBytes: 1e8,
      onKept: (lines) => void told.push(...lines),
    });
    await one.ready(60_000);
    await one.close();
  };
  const copies = async () => (await configs("copies")).map(({ num_replicas }) => num_replicas);
  await prepare(1);
  expect(await copies()).toEqual(Array(STREAMS).fill(1));
  await prepare(3);
  expect([await copies(), told]).toEqual([Array(STREAMS).fill(3), []]);
  await prepare(1);
  expect(await copies()).toEqual(Array(STREAMS).fill(3));
  expect(told).toContain("COPIES_LOG: num_replicas 3, LONGSHORE_NATS_REPLICAS asks for 1");
}, 120_000);
