import { Cluster } from "ioredis";
import { vi } from "vitest";
import { freePort } from "../../services/cli/cluster/ports.ts";
import { type RedisServer, startRedis } from "./redis.ts";

const SLOTS = 16_384;

/** A Redis Cluster of the test's own: masters that share all slots, and replicas of the first. */
export interface RedisCluster {
  readonly masters: readonly RedisServer[];
  readonly replicas: readonly RedisServer[];
  /** Of the first master. */
  readonly url: string;
  /** Another client, which finds the master of a key by itself. */
  readonly client: Cluster;
  flush(): Promise<void>;
  /** Which master says that the key is its own. */
  ownerOf(key: string): Promise<RedisServer>;
  stop(): Promise<void>;
}

/** `args` are appended to every command line. */
export async function startRedisCluster({ masters = 3, replicas = 0, args = [] as readonly string[] } = {}): Promise<RedisCluster> {
  const busPorts = await ports(masters + replicas);
  const cluster = ["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no", "--cluster-node-timeout", "60000"];
  const all = await Promise.all(busPorts.map((port) => startRedis([...cluster, "--cluster-port", String(port), ...args])));
  const [main, others] = [all.slice(0, masters), all.slice(masters)];
  await Promise.all(main.map(({ client }, i) => client.cluster("ADDSLOTSRANGE", ...rangeOf(i, masters))));
  await Promise.all(all.map(({ client }, i) => client.call("CLUSTER", "SET-CONFIG-EPOCH", i + 1)));
  for (const [i, { port }] of all.entries()) if (i > 0) await main[0]!.client.call("CLUSTER", "MEET", "127.0.0.1", port, busPorts[i]!);
  await untilAll(all, (info) => info.includes("cluster_state:ok") && info.includes(`cluster_known_nodes:${all.length}`));
  const id = await idOf(main[0]!);
  await Promise.all(others.map((server) => server.client.call("CLUSTER", "REPLICATE", id)));
  for (const { client } of others) await until(async () => (await client.info("replication")).includes("master_link_status:up"));
  const client = new Cluster([{ host: "127.0.0.1", port: main[0]!.port }], { redisOptions: { protocol: 2 } });
  client.on("error", () => {});
  return {
    masters: main,
    replicas: others,
    url: main[0]!.url,
    client,
    flush: async () => void (await Promise.all(main.map((server) => server.flush()))),
    async ownerOf(key) {
      const slot = await main[0]!.client.cluster("KEYSLOT", key);
      return main[Math.floor((slot * masters) / SLOTS)]!;
    },
    async stop() {
      client.disconnect();
      await Promise.all(all.map((server) => server.stop()));
    },
  };
}

/** The first step of a resharding: from here on `from` sends (ASK) to `to` for keys that it lacks. */
export async function beginToMove(slot: number, from: RedisServer, to: RedisServer): Promise<void> {
  await to.client.call("CLUSTER", "SETSLOT", slot, "IMPORTING", await idOf(from));
  await from.client.call("CLUSTER", "SETSLOT", slot, "MIGRATING", await idOf(to));
}

export const moveKeys = async (keys: readonly string[], from: RedisServer, to: RedisServer): Promise<void> =>
  void (await from.client.call("MIGRATE", "127.0.0.1", to.port, "", 0, 5_000, "KEYS", ...keys));

/** The last step: all masters are told that the slot is `to`'s. */
export async function endMove(slot: number, to: RedisServer, cluster: RedisCluster): Promise<void> {
  const id = await idOf(to);
  await to.client.call("CLUSTER", "SETSLOT", slot, "NODE", id);
  for (const { client } of cluster.masters) await client.call("CLUSTER", "SETSLOT", slot, "NODE", id);
}

const idOf = async ({ client }: RedisServer): Promise<string> => String(await client.call("CLUSTER", "MYID"));

const rangeOf = (i: number, masters: number): [number, number] => [
  Math.ceil((i * SLOTS) / masters),
  Math.ceil(((i + 1) * SLOTS) / masters) - 1,
];

async function ports(count: number): Promise<number[]> {
  const found: number[] = [];
  while (found.length < count) found.push(await freePort());
  return found;
}

async function untilAll(servers: readonly RedisServer[], holds: (info: string) => boolean): Promise<void> {
  for (const { client } of servers) await until(async () => holds(String(await client.cluster("INFO"))));
}

const until = (holds: () => Promise<boolean>): Promise<boolean> => vi.waitUntil(holds, { interval: 20, timeout: 60_000 });
