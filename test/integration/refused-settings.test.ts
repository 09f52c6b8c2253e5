import { afterAll, beforeAll, expect, test } from "vitest";
import { freePort } from "../../services/cli/cluster/ports.ts";
import { NatsServer } from "../support/nats.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { RoleProcess } from "../support/role-process.ts";

let nats: NatsServer;
let redis: RedisServer;
beforeAll(async () => {
  [nats, redis] = await Promise.all([NatsServer.start(), startRedis()]);
});
afterAll(async () => {
  await Promise.all([nats.stop(), redis.stop()]);
});

test.each(["api", "prefill", "decode", "batch-coordinator"] as const)(
  "a record that refuses the settings of %s ends it as bad configuration does",
  async (role) => {
    const process = RoleProcess.spawn(role, {
      ...{ LONGSHORE_NATS_URL: nats.url, LONGSHORE_REDIS_URL: redis.url, LONGSHORE_PORT: String(await freePort()) },
      ...{ LONGSHORE_ENGINE: "weightless", LONGSHORE_NATS_REPLICAS: "3" },
    });
    expect(await process.exited).toEqual({ code: 2, signal: null });
    expect(process.output).toMatch(
      /longshore: nats-server refuses stream LONGSHORE_LOG: replicas > 1 not supported .*; LONGSHORE_NATS_REPLICAS/,
    );
  },
);
