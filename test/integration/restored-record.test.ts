import OpenAI from "openai";
import { expect, test } from "vitest";
import { freePort } from "../../services/cli/cluster/ports.ts";
import { batchUntil, chatLine, createBatch, hasEnded, outputLines } from "../support/batches.ts";
import { NatsServer } from "../support/nats.ts";
import { startRedis } from "../support/redis.ts";
import { type Role, RoleProcess } from "../support/role-process.ts";

const ROLES: readonly Role[] = ["api", "prefill", "decode", "batch-coordinator"];
const LINES = 160;

test("the record is restored from a backup under running roles: a batch goes on from there, each line once, and no role needs a restart", async () => {
  const [nats, redis, port] = await Promise.all([NatsServer.start(), startRedis(), freePort()]);
  const env = {
    LONGSHORE_NATS_URL: nats.url,
    LONGSHORE_REDIS_URL: redis.url,
    LONGSHORE_ENGINE: "weightless",
    LONGSHORE_WEIGHTLESS_STEP_MS: "10",
    LONGSHORE_SEGMENT_TOKENS: "128",
    LONGSHORE_CLAIM_MS: "3000",
    LONGSHORE_BEAT_MS: "200",
    LONGSHORE_BATCH_LINES: "16",
    LONGSHORE_PORT: String(port),
  };
  const roles = await Promise.all(ROLES.map((role) => RoleProcess.start(role, env)));
  const client = new OpenAI({ baseURL: `http://127.0.0.1:${port}/v1`, apiKey: "none", timeout: 60_000 });
  const submit = async (key: string) => {
    const headers = { "content-type": "application/json", "idempotency-key": key };
    const body = JSON.stringify({ kind: "completion", request: { model: "yardlog", prompt: key, max_tokens: 4 } });
    const response = await fetch(`http://127.0.0.1:${port}/v1/jobs`, { method: "POST", headers, body });
    return [response.status, ((await response.json()) as { id: string }).id] as const;
  };
  try {
    const [, before] = await submit("before");
    const lines = Array.from({ length: LINES }, (_, i) => chatLine(`line ${i}`, `Crate ${i}.`, { max_tokens: 40 }));
    const { id } = await createBatch(client, lines);
    const done = (count: number) => batchUntil(client, id, ({ request_counts }) => (request_counts?.completed ?? 0) >= count);
    await done(LINES / 8);
    const restore = await nats.backUp();
    await done(LINES / 2);
    const [, after] = await submit("after");
    await restore();
    const batch = await batchUntil(client, id, hasEnded);
    expect(batch).toMatchObject({ status: "completed", request_counts: { total: LINES, completed: LINES, failed: 0 } });
    const output = await outputLines(client, batch.output_file_id);
    expect(output.map(({ custom_id }) => custom_id).toSorted()).toEqual(lines.map(({ custom_id }) => custom_id).toSorted());
    expect(output.map(({ response }) => response?.status_code)).toEqual(lines.map(() => 200));
    const jobs = await Promise.all([before, after].map((job) => fetch(`http://127.0.0.1:${port}/v1/jobs/${job}`)));
    expect(jobs.map(({ status }) => status)).toEqual([200, 404]);
    expect(await submit("before")).toEqual([202, before]);
    expect((await submit("after"))[1]).not.toBe(after);
    expect(
      await outputLines(client, (await batchUntil(client, (await createBatch(client, lines.slice(0, 4))).id, hasEnded)).output_file_id),
    ).toHaveLength(4);
    expect(roles.map(({ alive }) => alive)).toEqual(ROLES.map(() => true));
  } finally {
    await Promise.all(roles.map((role) => role.kill()));
    await Promise.all([nats.stop(), redis.stop()]);
  }
}, 300_000);
