import { connect, StorageType } from "nats";
import { afterEach, expect, test } from "vitest";
import { freePort } from "../../services/cli/cluster/ports.ts";
import { cache } from "../../services/cli/doctor/cache.ts";
import type { Finding } from "../../services/cli/doctor/finding.ts";
import { record } from "../../services/cli/doctor/record.ts";
import { busFromConfig } from "../../services/shared/bus/from-config.ts";
import { openBus } from "../../services/shared/bus/open.ts";
import { reached } from "../../services/shared/bus/reached.ts";
import { isOlder } from "../../services/shared/bus/storage.ts";
import { loadConfig } from "../../services/shared/runtime/config.ts";
import { NatsServer } from "../support/nats.ts";
import { startRedis } from "../support/redis.ts";
import { startRedisCluster } from "../support/redis-cluster.ts";

const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

const lines = (findings: readonly Finding[]) => findings.map(({ state, text }) => `${state} ${text}`);
const askedOf = async (url: string) => lines(await record(loadConfig({ LONGSHORE_NATS_URL: url })));
const cachedAt = async (url: string) => lines(await cache(loadConfig({ LONGSHORE_REDIS_URL: url, LONGSHORE_REDIS_TIMEOUT_MS: "2000" })));

async function nats(more = ""): Promise<NatsServer> {
  const server = await NatsServer.start(undefined, more);
  ends.push(() => server.stop());
  return server;
}

async function redis(...args: string[]) {
  const server = await startRedis(args);
  ends.push(server.stop);
  return server;
}

test("a record that does its part has all its streams, or says what the first process will ask for; an old one is to be restarted now and then", async () => {
  const { url } = await nats();
  const [server = "", ...more] = await askedOf(url);
  const [, version = ""] = /^yes nats-server (\d+\.\d+\.\d+), 0 B on disk, 0 B in memory$/.exec(server) ?? [];
  const grows = isOlder(version, "2.10") ? [expect.stringMatching(/^note before 2\.10 nats-server leaks .*: restart it now and then/)] : [];
  expect(version).not.toBe("");
  expect(more).toEqual([
    ...grows,
    expect.stringMatching(
      /^note streams of LONGSHORE_NATS_PREFIX=longshore .* \(12\) ask for 11\.90 GB of max_file_store and 16\.78 MB of max_mem_store: the first process creates/,
    ),
  ]);
  const bus = busFromConfig(loadConfig({ LONGSHORE_NATS_URL: url }));
  ends.push(() => bus.close());
  await bus.ready(60_000);
  expect(await askedOf(url)).toEqual([expect.stringMatching(/^yes nats-server \S+, \d+ B on disk, \d+ B in memory$/), ...grows]);
});

test.each([
  [
    "another password",
    "authorization { user: u, password: right }",
    "u:wrong@",
    /does not answer \(user or password refused\); check the user and password in LONGSHORE_NATS_URL$/,
  ],
  [
    "an account without JetStream",
    "accounts { A { users [{ user: u, password: p }] } }",
    "u:p@",
    /start nats-server with --jetstream, and where it has accounts/,
  ],
])("of a record with %s it is said in one line what to change", async (_, more, login, words) => {
  const { port } = await nats(more);
  expect(await askedOf(`nats://${login}127.0.0.1:${port}`)).toEqual([expect.stringMatching(new RegExp(`^no .*${words.source}`))]);
});

test.each([
  ["a server without JetStream", "jetstream: disabled\n", ""],
  ["an account without JetStream", "accounts { A { users [{ user: u, password: p }] } }\n", "u:p@"],
])("%s is not waited for", async (_, more, login) => {
  const { port } = await nats(more);
  const at = `127.0.0.1:${port}`;
  const bus = openBus({ url: `nats://${login}${at}`, streams: "none", answerMs: 600_000 }); // longer than the test may take
  ends.push(() => bus.close());
  const refused = { told: expect.stringContaining(`NATS at ${at} does not answer (it is up without JetStream)`), lasts: true };
  await expect(reached(bus, { ms: 600_000, say: () => {}, patient: false }).then(() => bus.storage())).rejects.toMatchObject(refused);
});

test("more copies than there are servers are told of before anybody starts", async () => {
  const { url } = await nats();
  const three = loadConfig({ LONGSHORE_NATS_URL: url, LONGSHORE_NATS_REPLICAS: "3" });
  expect(lines(await record(three)).at(-1)).toBe(
    "note LONGSHORE_NATS_REPLICAS=3 needs a cluster of 3 nats-servers to create them, and this one reports 1 up, itself included",
  );
});

test("an account in which the streams will find no room is told before anybody starts", async () => {
  const { url } = await nats(
    "accounts { A { jetstream { max_mem: 64MB, max_file: 30MB }, users [{ user: u, password: p }] } }\nno_auth_user: u\n",
  );
  expect((await askedOf(url)).at(-1)).toMatch(
    /^no streams of .* ask for 11\.\d+ GB on disk, and the account has 31\.46 MB left: raise its max_file, or lower LONGSHORE_LOG_MAX_BYTES/,
  );
});

test("servers that are not there are said to be away, and by which setting they are named", async () => {
  const port = await freePort();
  expect(await askedOf(`nats://127.0.0.1:${port}`)).toEqual([
    expect.stringMatching(
      /^no NATS at 127\.0\.0\.1:\d+ does not answer \(connection refused\); start nats-server there, or correct LONGSHORE_NATS_URL$/,
    ),
  ]);
  expect(await cachedAt(`redis://127.0.0.1:${port}`)).toEqual([
    `no Redis does not answer (connect ECONNREFUSED 127.0.0.1:${port}); check LONGSHORE_REDIS_URL and that redis-server is up`,
  ]);
});

test("a frozen server is not waited for", async () => {
  const [record, store] = [await nats(), await redis()];
  await Promise.all([record.freeze(), store.pause()]);
  ends.push(
    async () => record.thaw(),
    async () => store.resume(),
  );
  const [asked, cached] = await Promise.all([askedOf(record.url), cachedAt(store.url)]);
  expect([asked, cached]).toEqual([
    [expect.stringMatching(/^no NATS at \S+ does not answer/)],
    [expect.stringMatching(/^no Redis does not answer/)],
  ]);
});

test("a cache does its part where it has a bound and lets go of what is old", async () => {
  const bounded = await redis("--maxmemory", "10000000", "--maxmemory-policy", "allkeys-lru");
  expect(await cachedAt(bounded.url)).toEqual([expect.stringMatching(/^yes Redis \d+\.\d+\.\d+, \S+ kB of 10\.00 MB$/)]);
  expect((await cachedAt(`${bounded.url},redis://127.0.0.1:${await freePort()}`)).slice(1)).toEqual([
    expect.stringMatching(/^note it is not a cluster: .* so name one$/),
  ]);
  await bounded.client.config("SET", "maxmemory-policy", "noeviction");
  expect((await cachedAt(bounded.url)).slice(1)).toEqual(["note when full it stores no new segments: set maxmemory-policy allkeys-lru"]);
  await bounded.client.config("SET", "maxmemory", "0");
  expect((await cachedAt(bounded.url)).slice(1)).toEqual([
    expect.stringMatching(/^note it has no memory limit .* set maxmemory, and maxmemory-policy/),
  ]);
  await bounded.client.replicaof("127.0.0.1", String(await freePort()));
  expect(await cachedAt(bounded.url)).toContainEqual(expect.stringMatching(/^no it is a replica .* LONGSHORE_REDIS_URL$/));
});

test("a cluster is told by its masters: each with its bound, and which are not up", async () => {
  const cluster = await startRedisCluster({ args: ["--maxmemory", "10000000", "--maxmemory-policy", "allkeys-lru"] });
  ends.push(cluster.stop);
  const [, second, third] = cluster.masters;
  const url = `redis://127.0.0.1:${await freePort()},${cluster.url}`;
  const master = ({ port }: { port: number }) => expect.stringMatching(new RegExp(`^yes master 127.0.0.1:${port}, \\S+ MB of 10.00 MB$`));
  const isUp = expect.stringMatching(/^yes Redis \d+\.\d+\.\d+, a cluster of 3 masters, cluster_state ok$/);
  expect(await cachedAt(url)).toEqual([isUp, ...cluster.masters.map(master)]);
  expect(await cachedAt(`${cluster.url}/3`)).toContainEqual(
    expect.stringMatching(/^no a cluster has only database 0: .* LONGSHORE_REDIS_URL$/),
  );

  await second!.client.config("SET", "maxmemory", "0");
  await third!.client.call("CLUSTER", "DELSLOTS", 16_383);
  await third!.kill();
  await cluster.masters[0]!.client.call("CLUSTER", "DELSLOTS", 16_383);
  const told = await cachedAt(url);
  expect(told).toContainEqual(expect.stringMatching(/^no 1 of 16384 slots have no master that is up/));
  expect(told).toContainEqual(expect.stringMatching(/^note it has no memory limit/));
  expect(told).toContainEqual(
    expect.stringMatching(new RegExp(`^no master 127.0.0.1:${third!.port} does not answer .* at the address the cluster announces$`)),
  );
  await cluster.masters[0]!.client.config("SET", "cluster-require-full-coverage", "yes");
  await cluster.masters[0]!.client.call("CLUSTER", "DELSLOTS", 16_382); // it looks at its state again
  await expect.poll(async () => (await cachedAt(cluster.url))[1]).toMatch(/^no it stores no segments: /);
});

test.each([
  ["no password", ""],
  ["another password", ":wrong@"],
])("with %s a cache lets nobody in, and the setting is named", async (_, login) => {
  const { port, client } = await redis();
  await client.config("SET", "requirepass", "right");
  expect(await cachedAt(`redis://${login}127.0.0.1:${port}`)).toEqual([
    expect.stringMatching(/^no Redis does not answer \((NOAUTH|WRONGPASS) .*\); check the user and password in LONGSHORE_REDIS_URL$/),
  ]);
});

test("an account that holds much without a bound, or has no memory to give, is told of before anybody starts", async () => {
  const account = (memory: string, name: string) =>
    `${name} { jetstream { max_mem: ${memory}, max_file: 12GB }, users [{ user: ${name}, password: p }] }`;
  const { port } = await nats(`accounts { ${account("0", "none")}, ${account("20MB", "some")} }\n`);
  const [none, some] = ["none", "some"].map((user) => `nats://${user}:p@127.0.0.1:${port}`) as [string, string];
  expect((await askedOf(none)).at(-1)).toMatch(
    /^no streams of .* ask for 16\.78 MB in memory, and the account has 0 B left: raise its max_mem$/,
  );
  const connection = await connect({ servers: `127.0.0.1:${port}`, user: "some", pass: "p" });
  ends.push(() => connection.close());
  await (await connection.jetstreamManager()).streams.add({ name: "OTHER", subjects: ["other"], storage: StorageType.Memory });
  const stored = connection.jetstream();
  for (let mebibyte = 0; mebibyte < 5; mebibyte++) await stored.publish("other", new Uint8Array(1_000_000));
  expect((await askedOf(some)).at(-1)).toMatch(
    /^note .* 16\.78 MB in memory, and the account has 15\.97 MB left, 5\.000 MB being held by streams/,
  );
});

test("who waits for the record reads so after a second, and who cannot be helped by waiting is not kept", async () => {
  const lines: string[] = [];
  const say = (text: string) => lines.push(text);
  const frozen = await nats();
  await frozen.freeze();
  ends.push(async () => frozen.thaw());
  const open = (url: string) => {
    const bus = busFromConfig(loadConfig({ LONGSHORE_NATS_URL: url }), { streams: "none" });
    ends.push(() => bus.close());
    return bus;
  };
  const { port } = frozen;
  await expect(reached(open(frozen.url), { ms: 3_000, say, patient: false })).rejects.toThrow(`NATS at 127.0.0.1:${port} does not answer`);
  expect(lines.splice(0)).toEqual([
    expect.stringMatching(new RegExp(`^waiting 3 s at most for the record: NATS at 127\\.0\\.0\\.1:${port} `)),
  ]);
  const gone = `127.0.0.1:${await freePort()}`;
  const refused = `NATS at ${gone} does not answer (connection refused); start nats-server there, or correct LONGSHORE_NATS_URL`;
  await expect(reached(open(`nats://${gone}`), { ms: 600_000, say, patient: false })).rejects.toThrow(refused); // longer than the test may take
  expect(lines).toEqual([]);
  await expect(reached(open(`nats://${gone}`), { ms: 5_500, say, patient: true })).rejects.toThrow(refused);
  expect(lines).toEqual([`waiting 6 s at most for the record: ${refused}`]);
});
