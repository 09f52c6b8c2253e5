import { createHmac } from "node:crypto";
import { type Batch, batchOf } from "../shared/batches/batch.ts";
import { derivedId } from "../shared/batches/ids.ts";
import type { Document } from "../shared/bus/contract.ts";
import { ServingError } from "../shared/runtime/errors.ts";
import type { BatchDeps } from "./lines-run.ts";

/** Tries of one event, and the time between them: about two hours altogether. */
const TRIES_MAX = 10;
const RETRY_SECONDS = 5;
const RETRY_SECONDS_MAX = 1_800;
const ANSWER_MS = 10_000;
const SECRET_BYTES_MIN = 24;

type WebhookDeps = Pick<BatchDeps, "bus" | "config" | "log">;

/** Whether the end of a batch is to be told now. */
export const isDueToTell = ({ webhook }: Batch, nowMs: number): boolean => webhook !== null && 1_000 * webhook.nextAt <= nowMs;

/** Throws INVALID_REQUEST for a URL without a secret that can sign. */
export function checkWebhook({ webhookUrl, webhookSecret }: BatchDeps["config"]): void {
  if (webhookUrl === "") return;
  const url = URL.canParse(webhookUrl) ? new URL(webhookUrl) : null;
  if (url === null || !/^https?:$/.test(url.protocol))
    throw new ServingError("INVALID_REQUEST", "LONGSHORE_WEBHOOK_URL must be an http: or https: URL");
  if (keyOf(webhookSecret).length < SECRET_BYTES_MIN)
    throw new ServingError("INVALID_REQUEST", `LONGSHORE_WEBHOOK_SECRET must be whsec_ and ${SECRET_BYTES_MIN} bytes or more in base64`);
}

/**
 * Tells the end of a batch once more, at least once altogether: who tries says so first, so that only one does, and says when it was taken. Given
 * up after TRIES_MAX.
 */
export async function tell({ bus, config, log }: WebhookDeps, document: Document, nowMs: number): Promise<void> {
  const { webhook, ...rest } = batchOf(document);
  if (webhook === null) return;
  const tries = webhook.tries + 1;
  const waitSeconds = Math.min(RETRY_SECONDS_MAX, RETRY_SECONDS * 2 ** webhook.tries);
  const trying: Batch = { ...rest, webhook: { tries, nextAt: Math.floor(nowMs / 1_000) + Math.max(waitSeconds, ANSWER_MS / 1_000) } };
  const place = await bus.documents.put("batch", rest.tenant, rest.id, JSON.stringify(trying), document.place);
  if (place === null) return;
  const problem = await post(config, rest, Math.floor(nowMs / 1_000));
  if (problem !== null) log.warn({ batch: rest.id, tries, problem }, "a webhook was not taken");
  if (problem !== null && tries < TRIES_MAX) return;
  await bus.documents.put("batch", rest.tenant, rest.id, JSON.stringify({ ...trying, webhook: null }), place);
}

/** What was wrong; null if it was taken. */
async function post(config: BatchDeps["config"], batch: Omit<Batch, "webhook">, nowSeconds: number): Promise<string | null> {
  const id = derivedId("evt_", batch.id); // of every try: the receiver knows it again
  const body = JSON.stringify({ id, object: "event", type: `batch.${batch.status}`, created_at: batch.endedAt, data: { id: batch.id } });
  try {
    const response = await fetch(config.webhookUrl, {
      method: "POST",
      headers: { "content-type": "application/json", ...signed(config.webhookSecret, id, nowSeconds, body) },
      body,
      redirect: "error",
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    await response.body?.cancel();
    return response.ok ? null : `status ${response.status}`;
  } catch (error) {
    return error instanceof Error ? String(error.cause ?? error.message) : String(error);
  }
}

/** The headers of Standard Webhooks: an HMAC with SHA-256 over id, time and body. */
function signed(secret: string, id: string, nowSeconds: number, body: string): Record<string, string> {
  const signature = createHmac("sha256", keyOf(secret)).update(`${id}.${nowSeconds}.${body}`).digest("base64");
  return { "webhook-id": id, "webhook-timestamp": String(nowSeconds), "webhook-signature": `v1,${signature}` };
}

const keyOf = (secret: string): Buffer => Buffer.from(secret.startsWith("whsec_") ? secret.slice("whsec_".length) : "", "base64");
