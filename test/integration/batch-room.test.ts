import OpenAI, { toFile } from "openai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Served, serveEmbedded } from "../../services/cli/serve.ts";
import { findBatch } from "../../services/shared/batches/batch.ts";
import { loadConfig } from "../../services/shared/runtime/config.ts";
import { silentLog } from "../../services/shared/runtime/log.ts";
import { batchUntil, chatLine, createBatch, hasEnded, outputLines } from "../support/batches.ts";

let cluster: Served;
let client: OpenAI;
beforeAll(async () => {
  const settings = { LONGSHORE_ENGINE: "weightless", LONGSHORE_PORT: "0", LONGSHORE_FILES_MAX_BYTES: "1048576", LONGSHORE_BEAT_MS: "100" };
  cluster = await serveEmbedded(loadConfig(settings), silentLog);
  client = new OpenAI({ baseURL: `${cluster.api.url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(() => cluster.stop());

test("a batch that finds no room for its output waits, is held meanwhile, and goes on once there is room", async () => {
  const filler = await client.files.create({ file: await toFile(Buffer.alloc(1_000_000), "filler"), purpose: "batch" });
  const { id } = await createBatch(
    client,
    Array.from({ length: 120 }, (_, i) => chatLine(`line ${i}`, `Crate ${i}`)),
  );
  const batchNow = async () => (await findBatch(cluster.cluster.bus, "default", id))!.batch;
  await batchUntil(client, id, ({ status }) => status === "in_progress");
  const ended = async () =>
    (await cluster.cluster.bus.queue.messages("prefill")).length + (await cluster.cluster.bus.queue.messages("decode")).length === 0;
  while (!(await ended())) await new Promise((resolve) => setTimeout(resolve, 20));
  const { turn, epoch } = await batchNow();
  while ((await batchNow()).turn < turn + 5) await new Promise((resolve) => setTimeout(resolve, 20)); // it tries, and shows that it does
  expect(await batchNow()).toMatchObject({ status: "in_progress", epoch });
  await client.files.delete(filler.id);
  const batch = await batchUntil(client, id, hasEnded);
  expect(batch).toMatchObject({ status: "completed", request_counts: { total: 120, completed: 120, failed: 0 } });
  expect(await outputLines(client, batch.output_file_id)).toHaveLength(120);
});
