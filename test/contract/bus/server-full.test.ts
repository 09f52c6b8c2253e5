import { connect } from "nats";
import { afterEach, expect, test } from "vitest";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import { Connection } from "../../../services/shared/bus/nats/connection.ts";
import { ensureStream, type StreamPlan } from "../../../services/shared/bus/nats/ensure-stream.ts";
import { measureStorage } from "../../../services/shared/bus/nats/storage.ts";
import { Stream } from "../../../services/shared/bus/nats/stream.ts";
import { names } from "../../../services/shared/bus/nats/subjects.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { isOlder, type Storage, storageTroubles } from "../../../services/shared/bus/storage.ts";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import { systemRandom } from "../../../services/shared/runtime/random.ts";
import { NatsServer } from "../../support/nats.ts";

const MB = 1_000_000;
const patience = { clock: systemClock, random: systemRandom, tryMs: 5_000, answerMs: 10_000 };
const named = names("longshore");
const plan = (config: StreamPlan["config"]): StreamPlan => ({ config, from: {} });
const log = plan({
  name: named.log.stream,
  subjects: [`${named.log.subject}.*`, named.log.clock],
  storage: "file",
  num_replicas: 1,
  max_bytes: 2 * MB,
  allow_rollup_hdrs: true,
});
const beats = plan({
  name: named.beats.stream,
  subjects: [`${named.beats.subject}.>`],
  storage: "memory",
  num_replicas: 1,
  max_bytes: MB,
  max_msgs_per_subject: 1,
});
const OTHER = { subjects: ["other.*"], num_replicas: 1 };
const texts = (storage: Storage) => storageTroubles(storage).map(({ text }) => text);

const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

/** A server whose clients, all of one account, may store so much. */
async function smallServer(maxBytes: number, maxMemory = 64 * MB): Promise<NatsServer> {
  const account = `jetstream { max_mem: ${maxMemory}, max_file: ${maxBytes} }, users [{ user: u, password: p }]`;
  const server = await NatsServer.start(undefined, `accounts { A { ${account} } }\nno_auth_user: u\n`);
  ends.push(() => server.stop());
  return server;
}

/** Streams of our own beside one of somebody else's, `other`, which has no bound of its own. */
async function small(storage: "file" | "memory" = "file") {
  const server = await smallServer(20 * MB, 20 * MB);
  const connection = new Connection(server.url, patience, async (ready) => {
    for (const each of [log, beats, plan({ ...OTHER, name: "OTHER", storage })]) await ensureStream(ready, each);
  });
  ends.push(() => connection.close());
  const prepared = () => expect.poll(() => connection.unprepared(), { timeout: 60_000 }).toBeNull();
  await prepared();
  const probed = { log: new Stream(log.config.name, connection, patience), beats: new Stream(beats.config.name, connection, patience) };
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
  return { server, connection, prepared, probed, other, fill, measure: () => measureStorage(connection, [log, beats], probed, named) };
}

test("a server that is full of others' messages takes none of ours, and says what to do until there is room", async () => {
  const { fill, measure, other, server } = await small();
  const empty = { limitBytes: 20 * MB, unboundedBytes: 0, missingBytes: 0, refusal: null };
  expect(await measure()).toMatchObject({ disk: { ...empty, grantedBytes: 2 * MB }, memory: { ...empty, grantedBytes: MB }, missing: [] });
  const full = {
    code: "OVERLOADED",
    message: expect.stringMatching(/^nats-server stores nothing more \(.+\): restart it .* max_file_store/),
  };
  expect(await fill()).toMatchObject(full);
  const storage = await measure();
  expect(storage.disk.heldBytes).toBeGreaterThan(18 * MB);
  expect(storage.disk.unboundedBytes).toBeGreaterThan(18 * MB);
  expect(texts(storage)).toEqual([
    expect.stringMatching(/^nats-server stores nothing more .*Most on disk is held by OTHER \S+ MB \(it has no max_bytes/),
  ]);
  await withHand(server, (manager) => manager.streams.purge("OTHER")); // of everything, which all versions count
  expect(storageTroubles(await measure())).toEqual([]);
  await other.put("other.bulk", new Uint8Array(1));
});

test("an account whose memory others fill takes no sign of life, and says so of its memory alone", async () => {
  const { fill, measure, probed } = await small("memory");
  expect(await fill()).toMatchObject({ code: "OVERLOADED" });
  await expect(probed.beats.put(`${named.beats.subject}.w`, new Uint8Array(1))).rejects.toMatchObject({
    message: expect.stringMatching(/max_file \(max_mem\) of the account/),
  });
  const storage = await measure();
  expect(storage.disk).toMatchObject({ refusal: null, unboundedBytes: 0 });
  expect(storageTroubles(storage)).toEqual([
    { kind: "memory", refuses: true, text: expect.stringMatching(/Most in memory is held by OTHER \S+ MB \(it has no max_bytes/) },
  ]);
});

test("what a server goes on counting behind a purge of some subjects is told, and gone with its restart", async () => {
  const { fill, measure, other, server, prepared, connection } = await small();
  expect(await fill()).toMatchObject({ code: "OVERLOADED" });
  await other.purge("other.bulk");
  const storage = await measure();
  expect(storage.disk.heldBytes).toBeLessThan(0.1 * MB);
  const isBroken = isOlder(connection.version, "2.9.15");
  expect(storage.disk.countedBytes > 18 * MB).toBe(isBroken);
  if (isBroken) expect(texts(storage)[0]).toMatch(/now refuses everything\. Restart it: .* from 2\.9\.15 on/);
  await server.kill("SIGTERM");
  await expect.poll(() => connection.unprepared(), { timeout: 60_000 }).not.toBeNull();
  await server.restart();
  await prepared();
  expect(await measure()).toMatchObject({ disk: { refusal: null } });
  expect(storageTroubles(await measure())).toEqual([]);
});

test("where a stream finds no room, whoever asks for another that comes behind it hears that, not that it is not found", async () => {
  const server = await smallServer(20 * MB);
  const bus: Bus = openBus({ url: server.url, answerMs: 500 });
  ends.push(() => bus.close());
  const noRoom = { code: "UNAVAILABLE", message: expect.stringMatching(/no room for stream LONGSHORE_LOG: .*LONGSHORE_LOG_MAX_BYTES/) };
  await expect.poll(() => bus.ready(100).catch((error: unknown) => error), { timeout: 60_000 }).toMatchObject(noRoom);
  await expect(bus.registry.beats("prefill")).rejects.toMatchObject(noRoom);
  await expect(bus.registry.beat("prefill", "w", "{}")).rejects.toMatchObject(noRoom);
  expect(await bus.storage()).toMatchObject({ missing: expect.arrayContaining([named.log.stream]), disk: { refusal: null } });
});

async function withHand(server: NatsServer, act: (manager: { streams: { purge(name: string): Promise<unknown> } }) => Promise<unknown>) {
  const connection = await connect({ servers: server.url });
  await act(await connection.jetstreamManager()).finally(() => connection.close());
}
