import { connect } from "nats";
import { afterEach, expect, test } from "vitest";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import { Connection } from "../../../services/shared/bus/nats/connection.ts";
import { ensureStream, type StreamPlan } from "../../../services/shared/bus/nats/ensure-stream.ts";
import { measureStorage } from "../../../services/shared/bus/nats/storage.ts";
import { Stream } from "../../../services/shared/bus/nats/stream.ts";
import { names } from "../../../services/shared/bus/nats/subjects.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { isOlder, storageTrouble } from "../../../services/shared/bus/storage.ts";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import { systemRandom } from "../../../services/shared/runtime/random.ts";
import { NatsServer } from "../../support/nats.ts";

const MB = 1_000_000;
const patience = { clock: systemClock, random: systemRandom, tryMs: 5_000, answerMs: 10_000 };
const named = names("longshore");
const log: StreamPlan = {
  config: {
    name: named.log.stream,
    subjects: [`${named.log.subject}.*`, named.log.clock],
    storage: "file",
    num_replicas: 1,
    max_bytes: 2 * MB,
    allow_rollup_hdrs: true,
  },
  from: {},
};

const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

/** A server whose clients, all of one account, may store so much. */
async function smallServer(maxBytes: number): Promise<NatsServer> {
  const account = `jetstream { max_mem: 64MB, max_file: ${maxBytes} }, users [{ user: u, password: p }]`;
  const server = await NatsServer.start(undefined, `accounts { A { ${account} } }\nno_auth_user: u\n`);
  ends.push(() => server.stop());
  return server;
}

/** A log of our own beside a stream of somebody else's, `other`. */
async function small() {
  const server = await smallServer(20 * MB);
  const connection = new Connection(server.url, patience, async (ready) => {
    await ensureStream(ready, log);
    await ensureStream(ready, { config: { name: "OTHER", subjects: ["other.*"], storage: "file", num_replicas: 1 }, from: {} });
  });
  ends.push(() => connection.close());
  const prepared = () => expect.poll(() => connection.unprepared(), { timeout: 60_000 }).toBeNull();
  await prepared();
  const stream = new Stream(log.config.name, connection, patience);
  const other = new Stream("OTHER", connection, patience);
  /** Until not even a short one finds room; what is said then. */
  const fill = async (): Promise<unknown> => {
    let refused: unknown = null;
    for (let length = 900_000; length >= 1; ) {
      refused = await other.put("other.bulk", new Uint8Array(length)).catch((error: unknown) => error);
      if (refused instanceof Error) length >>= 1;
    }
    return refused;
  };
  return { server, connection, prepared, stream, other, fill, measure: () => measureStorage(connection, [log], stream, named) };
}

test("a server that is full of others' messages takes none of ours, and says what to do until there is room", async () => {
  const { fill, measure, other, server } = await small();
  expect(await measure()).toMatchObject({ limitBytes: 20 * MB, grantedBytes: 2 * MB, missing: [], missingBytes: 0, refusal: null });
  const full = {
    code: "OVERLOADED",
    message: expect.stringMatching(/^nats-server stores nothing more \(.+\): restart it .* max_file_store/),
  };
  expect(await fill()).toMatchObject(full);
  const storage = await measure();
  expect(storage.heldBytes).toBeGreaterThan(18 * MB);
  expect(storageTrouble(storage)).toMatch(/^nats-server stores nothing more/);
  await withHand(server, (manager) => manager.streams.purge("OTHER")); // of everything, which all versions count
  expect(storageTrouble(await measure())).toBeNull();
  await other.put("other.bulk", new Uint8Array(1));
});

test("what a server goes on counting behind a purge of some subjects is told, and gone with its restart", async () => {
  const { fill, measure, other, server, prepared, connection } = await small();
  expect(await fill()).toMatchObject({ code: "OVERLOADED" });
  await other.purge("other.bulk");
  const storage = await measure();
  expect(storage.heldBytes).toBeLessThan(0.1 * MB);
  const isBroken = isOlder(connection.version, "2.9.15");
  expect(storage.countedBytes > 18 * MB).toBe(isBroken);
  if (isBroken) expect(storageTrouble(storage)).toMatch(/now refuses everything\. Restart it: .* from 2\.9\.15 on/);
  await server.kill("SIGTERM");
  await expect.poll(() => connection.unprepared(), { timeout: 60_000 }).not.toBeNull();
  await server.restart();
  await prepared();
  expect(await measure()).toMatchObject({ heldBytes: expect.any(Number), refusal: null });
  expect(storageTrouble(await measure())).toBeNull();
});

test("where a stream finds no room, whoever asks for another that comes behind it hears that, not that it is not found", async () => {
  const server = await smallServer(20 * MB);
  const bus: Bus = openBus({ url: server.url, answerMs: 500 });
  ends.push(() => bus.close());
  const noRoom = { code: "UNAVAILABLE", message: expect.stringMatching(/no room for stream LONGSHORE_LOG: .*LONGSHORE_LOG_MAX_BYTES/) };
  await expect.poll(() => bus.ready(100).catch((error: unknown) => error), { timeout: 60_000 }).toMatchObject(noRoom);
  await expect(bus.registry.beats("prefill")).rejects.toMatchObject(noRoom);
  await expect(bus.registry.beat("prefill", "w", "{}")).rejects.toMatchObject(noRoom);
  expect(await bus.storage()).toMatchObject({ missing: expect.arrayContaining([named.log.stream]), refusal: null });
});

async function withHand(server: NatsServer, act: (manager: { streams: { purge(name: string): Promise<unknown> } }) => Promise<unknown>) {
  const connection = await connect({ servers: server.url });
  await act(await connection.jetstreamManager()).finally(() => connection.close());
}
