import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { freePort } from "../../services/cli/cluster/ports.ts";
import { NatsServer } from "../support/nats.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { type Role, RoleProcess } from "../support/role-process.ts";

let nats: NatsServer;
let redis: RedisServer;
let worker: RoleProcess;
afterEach(async () => {
  await worker?.kill();
  await Promise.all([nats?.stop(), redis?.stop()]);
});

/** A process beside servers of its own; what /ready says, with its code. */
async function start(natsUrl: string, role: Role = "prefill"): Promise<() => Promise<string>> {
  redis = await startRedis();
  const port = await freePort();
  worker = await RoleProcess.start(role, {
    ...{ LONGSHORE_NATS_URL: natsUrl, LONGSHORE_REDIS_URL: redis.url, LONGSHORE_STATUS_PORT: String(port) },
    ...{ LONGSHORE_ENGINE: "weightless", LONGSHORE_BEAT_MS: "200" },
  });
  return async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/ready`);
    return `${answer.status} ${await answer.text()}`;
  };
}

const PATIENCE = { timeout: 60_000 };
/** The worker's lines that say so. */
const said = (words: RegExp) => worker.output.split("\n").filter((line) => words.test(line)).length;
const LOST = /no work can be pulled|does not accept this worker's heartbeat/;
const BACK = /NATS answers again/;

test("a worker whose record is killed says so once and is not ready, and once more when it is back", async () => {
  nats = await NatsServer.start();
  const ready = await start(nats.url);
  expect(await ready()).toBe("200 ok\n");
  for (const times of [1, 2]) {
    await nats.kill();
    await expect.poll(ready, PATIENCE).toMatch(/^503 .*(the connection broke|NATS does not answer)/);
    await nats.restart();
    await expect.poll(ready, PATIENCE).toBe("200 ok\n");
    await expect.poll(() => [said(LOST), said(BACK)], PATIENCE).toEqual([times, times]);
  }
});

test("a coordinator of batches is ready while the record answers", async () => {
  nats = await NatsServer.start();
  const ready = await start(nats.url, "batch-coordinator");
  expect(await ready()).toBe("200 ok\n");
  await nats.kill();
  await expect.poll(ready, PATIENCE).toMatch(/^503 .*(the connection broke|NATS does not answer)/);
  await nats.restart();
  await expect.poll(ready, PATIENCE).toBe("200 ok\n");
});

test.each(["$JS.API.CONSUMER.DURABLE.CREATE.", "$JS.API.CONSUMER.MSG.NEXT."])(
  "a worker that may not publish to %s says so, why, and is not ready until it is let",
  async (begin) => {
    const users = (denied: string) =>
      `authorization { users: [{ user: u, password: p, permissions: { publish: { deny: [${denied}] } } }] }\n`;
    const directory = mkdtempSync(join(tmpdir(), "longshore-nats-"));
    const allow = (denied: string) => writeFileSync(join(directory, "users.conf"), users(denied));
    allow(`"${begin}>"`);
    nats = await NatsServer.start(directory, 'include "users.conf"\n');
    const ready = await start(nats.url.replace("//", "//u:p@"));
    const why = `nats-server does not allow longshore to publish to ${begin}LONGSHORE_PREFILL.`;
    await expect
      .poll(ready, PATIENCE)
      .toMatch(new RegExp(`^503 no work can be pulled: .*${why.replaceAll(".", "\\.").replaceAll("$", "\\$")}`));
    allow("");
    await nats.kill("SIGTERM");
    await nats.restart();
    await expect.poll(ready, PATIENCE).toBe("200 ok\n");
    await expect.poll(() => [said(LOST), said(BACK)], PATIENCE).toEqual([1, 1]);
  },
);
