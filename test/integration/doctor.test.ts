import { afterEach, expect, test } from "vitest";
import { freePort } from "../../services/cli/cluster/ports.ts";
import { cache } from "../../services/cli/doctor/cache.ts";
import type { Finding } from "../../services/cli/doctor/finding.ts";
import { record } from "../../services/cli/doctor/record.ts";
import { busFromConfig } from "../../services/shared/bus/from-config.ts";
import { loadConfig } from "../../services/shared/runtime/config.ts";
import { NatsServer } from "../support/nats.ts";
import { startRedis } from "../support/redis.ts";

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

test("a record that does its part has all its streams, or says what the first process will ask for", async () => {
  const { url } = await nats();
  expect(await askedOf(url)).toEqual([
    expect.stringMatching(/^yes nats-server \d+\.\d+\.\d+, 0 B stored$/),
    expect.stringMatching(
      /^note streams of LONGSHORE_NATS_PREFIX=longshore .* \(11\) ask for 11\.63 GB of max_file_store: the first process makes/,
    ),
  ]);
  const bus = busFromConfig(loadConfig({ LONGSHORE_NATS_URL: url }));
  ends.push(() => bus.close());
  await bus.ready(60_000);
  expect(await askedOf(url)).toEqual([expect.stringMatching(/^yes nats-server \S+, \d+ B stored$/)]);
});

test.each([
  [
    "another password",
    "authorization { user: u, password: right }",
    "u:wrong@",
    /Authorization Violation.*check the user and password in LONGSHORE_NATS_URL$/,
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

test("an account in which the streams will find no room is told before anybody starts", async () => {
  const { url } = await nats(
    "accounts { A { jetstream { max_mem: 64MB, max_file: 30MB }, users [{ user: u, password: p }] } }\nno_auth_user: u\n",
  );
  expect((await askedOf(url)).at(-1)).toMatch(
    /^no streams of .* ask for 11\.63 GB, and the account has 31\.46 MB left: raise max_file .* LONGSHORE_LOG_MAX_BYTES/,
  );
});

test("servers that are not there are said to be away, and by which setting they are named", async () => {
  const port = await freePort();
  expect(await askedOf(`nats://127.0.0.1:${port}`)).toEqual([
    expect.stringMatching(/^no NATS does not answer \(.*REFUSED.*\); check LONGSHORE_NATS_URL/),
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
    [expect.stringMatching(/^no NATS does not answer/)],
    [expect.stringMatching(/^no Redis does not answer/)],
  ]);
});

test("a cache does its part where it has a bound and lets go of what is old", async () => {
  const bounded = await redis("--maxmemory", "10000000", "--maxmemory-policy", "allkeys-lru");
  expect(await cachedAt(bounded.url)).toEqual([expect.stringMatching(/^yes Redis \d+\.\d+\.\d+, \S+ kB of 10\.00 MB$/)]);
  await bounded.client.config("SET", "maxmemory-policy", "noeviction");
  expect((await cachedAt(bounded.url)).slice(1)).toEqual(["note full, it takes no more segments: set maxmemory-policy allkeys-lru"]);
  await bounded.client.config("SET", "maxmemory", "0");
  expect((await cachedAt(bounded.url)).slice(1)).toEqual([
    expect.stringMatching(/^note it has no bound .* set maxmemory, and maxmemory-policy/),
  ]);
  await bounded.client.replicaof("127.0.0.1", String(await freePort()));
  expect(await cachedAt(bounded.url)).toContainEqual(expect.stringMatching(/^no it is a replica .* LONGSHORE_REDIS_URL$/));
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
