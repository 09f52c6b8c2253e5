import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { slotOf } from "../../../services/shared/segments/redis/slots.ts";
import { freshStores, name, PIECE, put } from "../../support/fresh-redis.ts";
import { LossyProxy } from "../../support/proxy.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { beginToMove, endMove, moveKeys, type RedisCluster, startRedisCluster } from "../../support/redis-cluster.ts";
import { type Sample, sample } from "../../support/segments.ts";

const { openStore, get } = freshStores();
let cluster: RedisCluster;
beforeAll(async () => {
  cluster = await startRedisCluster({ replicas: 1 });
});
afterAll(() => cluster.stop());
beforeEach(() => cluster.flush());

const values = Array.from({ length: 40 }, (_, index) => sample(`n${index}`, 10 + (index % 3) * PIECE));
const keys = values.map(({ key }) => key);
const putAll = (store: ReturnType<typeof openStore>) => Promise.all(values.map((value) => put(store, value)));
const getAll = (store: ReturnType<typeof openStore>) => Promise.all(values.map((value) => get(store, value)));
const all = <T>(answer: T) => values.map(() => answer);

/** Times that a server answered so. */
const errors = async ({ client }: RedisServer, kind: string): Promise<number> =>
  Number(new RegExp(`errorstat_${kind}:count=(\\d+)`).exec(await client.info("errorstats"))?.[1] ?? 0);
const moved = async () => (await Promise.all(cluster.masters.map((server) => errors(server, "MOVED")))).reduce((sum, one) => sum + one);

test("slots are those of the server, whatever the key", async () => {
  const texts = ["", "a", "{}", "{a", "x{a}{b}", "x{{a}", "a}b{c}", "longshore:{KEY}:claim", "ключ", "{ключ}:1", "{\u{1f600}}"];
  for (const text of texts) expect(slotOf(text), text).toBe(await cluster.masters[0]!.client.cluster("KEYSLOT", text));
});

test.each([
  ["one of its masters", () => cluster.url],
  ["one of its masters, by another name than it has in the cluster", () => `redis://localhost:${cluster.masters[1]!.port}`],
  ["the socket of one", () => `unix://localhost${cluster.masters[0]!.socketPath}`],
  ["one of its replicas", () => cluster.replicas[0]!.url],
  ["several, the first of which is away", () => `redis://127.0.0.1:1,${cluster.url}`],
])("named by %s, all of it is found, and no key is asked for at a wrong place any more", async (_, url) => {
  const store = openStore(url());
  await vi.waitFor(async () => expect(await put(store, values[0]!)).toBe(true), { timeout: 20_000 });
  await vi.waitFor(
    async () => {
      const before = await moved();
      expect(await putAll(store)).toEqual(all(true));
      expect(await moved()).toBe(before);
    },
    { timeout: 20_000 },
  );
  expect(await store.countPrefix(keys)).toBe(keys.length);
  expect(await getAll(store)).toEqual(all(true));
  for (const value of values) expect(await cluster.client.exists(name(value))).toBe(1);
  for (const { client } of cluster.masters) expect(await client.dbsize()).toBeGreaterThan(0);
});

test("each master has as many connections as the setting says and one more, also where it was first known by another name", async () => {
  const count = async ({ client }: RedisServer) =>
    String(await client.call("CLIENT", "LIST", "TYPE", "normal"))
      .trim()
      .split("\n").length;
  const before = await Promise.all(cluster.masters.map(count));
  const store = openStore(`redis://localhost:${cluster.masters[0]!.port}`, { connections: 3 });
  expect(await putAll(store)).toEqual(all(true));
  await vi.waitFor(async () => expect(await Promise.all(cluster.masters.map(count))).toEqual(before.map((others) => others + 4)), {
    timeout: 20_000,
  });
  expect(store.stats().failures).toBe(0);
});

test("a slot that moves: amid its move, and once it has moved, values are whole and claims are one owner's", async () => {
  const store = openStore(cluster.url);
  const [value, fresh] = [sample("a", 3 * PIECE), sample("a", 5 * PIECE)];
  const slot = slotOf(name(value));
  const from = await cluster.ownerOf(name(value));
  const to = cluster.masters.find((server) => server !== from)!;
  expect([await putAll(store), await put(store, value), await store.claim(value.key, "one", 60_000)]).toEqual([all(true), true, true]);

  await beginToMove(slot, from, to);
  await moveKeys([name(value, 1), `${name(value)}:claim`], from, to); // two of its four keys
  expect(await get(store, value)).toBe(true);
  expect(await store.countPrefix([value.key])).toBe(1);
  expect([await store.claim(value.key, "two", 60_000), await store.claim(value.key, "one", 60_000)]).toEqual([false, true]);
  expect(await put(store, fresh)).toBe(true);
  expect(await get(store, fresh)).toBe(true);
  await store.unclaim(value.key, "one");
  expect(await store.claim(value.key, "two", 60_000)).toBe(true);
  expect(await errors(from, "ASK")).toBeGreaterThan(0);

  await moveKeys(await from.client.cluster("GETKEYSINSLOT", slot, 100), from, to);
  await endMove(slot, to, cluster);
  expect(await get(store, fresh)).toBe(true);
  expect([await store.countPrefix([value.key]), await store.claim(value.key, "one", 60_000)]).toEqual([1, false]);
  expect(await getAll(store)).toEqual(all(true));
  expect(store.stats()).toMatchObject({ misses: 0, damaged: 0, failures: 0 });

  await beginToMove(slot, to, from);
  await moveKeys(await to.client.cluster("GETKEYSINSLOT", slot, 100), to, from);
  await endMove(slot, from, cluster);
  expect(await get(store, fresh)).toBe(true);
});

test("one master emptied, or standing still: its values are misses, within a deadline, and nobody waits for them", async () => {
  const store = openStore(cluster.url, { timeoutMs: 500 });
  const victim = cluster.masters[1]!;
  const kept = await Promise.all(values.map(async (value) => (await cluster.ownerOf(name(value))) !== victim || null));
  const others = values.filter((_, i) => kept[i] === true);
  await vi.waitFor(async () => expect(await putAll(store)).toEqual(all(true)), { timeout: 20_000 });
  const { failures } = store.stats();
  await victim.flush();
  expect(await getAll(store)).toEqual(kept);
  expect(store.stats().failures).toBe(failures);

  await victim.pause();
  try {
    const lost = Promise.all(values.filter((_, i) => kept[i] === null).map((value) => get(store, value)));
    for (const value of others) await vi.waitFor(async () => expect(await get(store, value)).toBe(true), { timeout: 20_000 });
    expect(new Set(await lost)).toEqual(new Set([null]));
    expect(store.stats().failures).toBeGreaterThan(failures);
  } finally {
    victim.resume();
  }
  await vi.waitFor(async () => expect(await putAll(store)).toEqual(all(true)), { timeout: 20_000 });
});

test("the first of the setting stands still from the start: what others hold is there long before its deadline", async () => {
  const [still, ...others] = cluster.masters;
  const theirs: Sample[] = [];
  for (const value of values) if ((await cluster.ownerOf(name(value))) !== still) theirs.push(value);
  await still!.pause();
  try {
    const store = openStore([still!, ...others].map(({ url }) => url).join(), { timeoutMs: 60_000 });
    let isStored = false;
    await vi.waitFor(
      () => {
        void put(store, theirs[0]!).then((done) => {
          isStored ||= done;
        });
        expect(isStored).toBe(true);
      },
      { timeout: 20_000 },
    );
    for (const value of theirs) expect(await put(store, value)).toBe(true);
    for (const value of theirs) expect(await get(store, value)).toBe(true);
    expect(store.stats().failures).toBe(0);
    await store.close(); // and with it what waits for the one that stands still
  } finally {
    still!.resume();
  }
});

test("a single server in place of the cluster, under the same name: found once no master answers", async () => {
  const one = await startRedisCluster({ masters: 1 });
  const single = await startRedis();
  const proxy = await LossyProxy.start(one.masters[0]!.port);
  const store = openStore(`redis://127.0.0.1:1,redis://127.0.0.1:${proxy.port}`);
  const works = async () => expect([await put(store, values[0]!), await get(store, values[0]!)]).toEqual([true, true]);
  await vi.waitFor(works, { timeout: 20_000 });
  await one.masters[0]!.kill();
  proxy.targetPort = single.port;
  await vi.waitFor(works, { timeout: 20_000 });
  expect(await single.client.exists(name(values[0]!))).toBe(1);
  await store.close();
  await Promise.all([proxy.stop(), single.stop(), one.stop()]);
});

test("a user who may do no more than the runbook gives it learns where keys are", async () => {
  const servers = [...cluster.masters, ...cluster.replicas];
  const rules = ["on", ">se#cret", "~test*", "+@all", "-@dangerous", "+info"];
  await Promise.all(servers.map(({ client }) => client.call("ACL", "SETUSER", "longshore", ...rules)));
  const told: string[] = [];
  const log = pino({}, { write: (line: string) => void told.push(line) });
  const store = openStore(`redis://longshore:se%23cret@127.0.0.1:${cluster.masters[0]!.port},${cluster.masters[1]!.url}`, { log });
  await vi.waitFor(async () => expect(await putAll(store)).toEqual(all(true)), { timeout: 20_000 });
  expect([await getAll(store), await store.claim(keys[0]!, "a", 1_000), told]).toEqual([all(true), true, []]);
});

// Last: it leaves a cluster without its first master.
test("a master that is lost: its values are misses and all others stay, until a replica has taken over; each is told once", async () => {
  const told: { msg: string; operation?: string; server?: string }[] = [];
  const log = pino({}, { write: (line: string) => void told.push(JSON.parse(line)) });
  const store = openStore(cluster.url, { log });
  const [victim, successor] = [cluster.masters[0]!, cluster.replicas[0]!];
  expect(await putAll(store)).toEqual(all(true));
  await victim.client.wait(1, 5_000);
  const lost = await Promise.all(values.map(async (value) => (await cluster.ownerOf(name(value))) === victim));
  expect(new Set(lost).size).toBe(2);

  await victim.kill();
  for (let round = 0; round < 3; round++) {
    expect(await getAll(store)).toEqual(lost.map((isLost) => (isLost ? null : true)));
    expect(await putAll(store)).toEqual(lost.map((isLost) => !isLost));
    expect(await store.countPrefix(keys)).toBe(lost.indexOf(true));
  }
  expect(await store.claim(keys[lost.indexOf(true)]!, "a", 1_000)).toBe(true);
  const fails = told.filter(({ msg }) => msg.includes("fails"));
  expect(fails.map(({ operation, server }) => `${operation} ${server}`).sort()).toEqual(
    ["claim", "count", "get", "put"].map((operation) => `${operation} 127.0.0.1:${victim.port}`),
  );

  await successor.client.call("CLUSTER", "FAILOVER", "TAKEOVER");
  await vi.waitFor(async () => expect(await getAll(store)).toEqual(all(true)), { timeout: 20_000 });
  expect(await putAll(store)).toEqual(all(true));
  expect(await store.countPrefix(keys)).toBe(keys.length);
  expect(told.map(({ msg }) => msg)).toContain("a segment store server is no longer used");
});
