import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import OpenAI from "openai";
import { expect, test } from "vitest";
import { newBatch } from "../../../services/api/files/batches.ts";
import { type Served, serveEmbedded } from "../../../services/cli/serve.ts";
import type { Bus, DocumentKind } from "../../../services/shared/bus/contract.ts";
import { loadConfig } from "../../../services/shared/runtime/config.ts";
import { silentLog } from "../../../services/shared/runtime/log.ts";
import { batchUntil, chatLine, createBatch, hasEnded, outputLines } from "../../support/batches.ts";

const id = (i: number) => `batch_${String(i).padStart(20, "0")}`;
const request = { input_file_id: "file-1", endpoint: "/v1/completions", completion_window: "24h" } as const;

/** What no program of this version wrote. */
const junk = (kind: DocumentKind): readonly string[] => {
  if (kind !== "batch") return ["", "null", "{}"];
  const batch = newBatch(id(0), "default", { ...request, metadata: undefined, output_expires_after: undefined }, 0);
  return ["", "{", "null", "[]", "{}", JSON.stringify({ ...batch, status: "paused" }), JSON.stringify({ ...batch, output: null })];
};

async function spoil({ documents }: Bus): Promise<void> {
  for (const kind of ["batch", "file", "event"] as const)
    for (const [i, text] of junk(kind).entries())
      await documents.put(kind, "default", kind === "file" ? `file-${id(i).slice(6)}` : kind === "event" ? `job_${i}` : id(i), text, 0);
}

const figure = async ({ api }: Served, kind: DocumentKind) => {
  const text = await (await fetch(`${api.url}/metrics`)).text();
  return Number(text.match(`longshore_damaged_documents_total{kind="${kind}"} (\\d+)`)?.[1] ?? 0);
};

test("documents that cannot be read cost what they tell of, and nothing else: others are run, listed and told", async () => {
  const told: string[] = [];
  const receiver = createServer((request, response) => {
    request.on("data", (bytes: Buffer) => told.push(String(bytes))).on("end", () => response.end());
  }).listen(0, "127.0.0.1");
  await once(receiver, "listening");
  const cluster = await serveEmbedded(
    loadConfig({
      ...{ LONGSHORE_ENGINE: "weightless", LONGSHORE_PORT: "0", LONGSHORE_BEAT_MS: "100" },
      LONGSHORE_WEBHOOK_URL: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}`,
      LONGSHORE_WEBHOOK_SECRET: `whsec_${randomBytes(32).toString("base64")}`,
    }),
    silentLog,
  );
  const client = new OpenAI({ baseURL: `${cluster.api.url}/v1`, apiKey: "none", maxRetries: 0 });
  await spoil(cluster.cluster.bus);

  const batch = await batchUntil(client, (await createBatch(client, [chatLine("a", "1")])).id, hasEnded);
  expect(batch).toMatchObject({ status: "completed", request_counts: { completed: 1 } });
  await expect.poll(() => told.join(), { timeout: 20_000 }).toContain(batch.id);
  expect((await client.batches.list()).data.map(({ id }) => id)).toEqual([batch.id]);
  expect((await client.files.list({ purpose: "batch_output" })).data.map(({ id }) => id)).toEqual([batch.output_file_id]);
  expect(await outputLines(client, batch.output_file_id)).toHaveLength(1);
  expect(await client.files.delete(batch.input_file_id)).toMatchObject({ deleted: true });

  for (const ask of [
    () => client.batches.retrieve(id(1)),
    () => client.batches.cancel(id(1)),
    () => client.files.retrieve(`file-${id(1).slice(6)}`),
  ])
    await expect(ask()).rejects.toMatchObject({ status: 500, code: "damaged", message: expect.stringMatching(/cannot be read/) });
  expect([await figure(cluster, "batch"), await figure(cluster, "event")]).toEqual([junk("batch").length, junk("event").length]);
  await cluster.stop();
  receiver.close();
});
