import { expect, test } from "vitest";
import { loadConfig, requireServers } from "../../../../services/shared/runtime/config.ts";

test("a role without servers is told what to set, and how to do without", () => {
  const nowhere = loadConfig({});
  expect(() => requireServers(nowhere, "natsUrl", "redisUrl")).toThrow(/LONGSHORE_NATS_URL and LONGSHORE_REDIS_URL .*`longshore up`/);
  const somewhere = loadConfig({ LONGSHORE_NATS_URL: "nats://127.0.0.1:4222" });
  expect(() => requireServers(somewhere, "natsUrl", "redisUrl")).toThrow(/set LONGSHORE_REDIS_URL to/);
  expect(() => requireServers(somewhere, "natsUrl")).not.toThrow();
});
