import { createHmac } from "node:crypto";
import type { JobEnd } from "../api/jobs/job-end.ts";
import { derivedId } from "../shared/batches/ids.ts";
import type { Config } from "../shared/runtime/config.ts";
import { linked } from "../shared/runtime/pause.ts";
import { keyOf } from "./check-webhook.ts";
import type { Pace } from "./receiver-window.ts";

/** Time a receiver has to answer. At most half of that is well in time. */
export const ANSWER_MS = 10_000;
const GOOD_MS = ANSWER_MS / 2;
/** Statuses by which a receiver says that it gets too many. */
const TOO_MANY: ReadonlySet<number> = new Set([429, 503]);

/** The outcome of a try. */
export interface Tried {
  /** Null if the end was taken. */
  readonly problem: string | null;
  /** Of its answer, whether it took this end or not. */
  readonly pace: Pace;
}

/** Never rejects. */
export async function postEnd(config: Config, end: JobEnd, nowMs: number, cut: AbortSignal): Promise<Tried> {
  const id = derivedId("evt_", end.id); // the same in every try, so that the receiver can tell repeats
  const body = JSON.stringify({ id, object: "event", type: end.type, created_at: end.endedAt, data: { id: end.id } });
  const { signal, release } = linked(AbortSignal.timeout(ANSWER_MS), cut);
  const beganMs = performance.now();
  try {
    const response = await fetch(config.webhookUrl, {
      method: "POST",
      headers: { "content-type": "application/json", ...signed(config.webhookSecret, id, Math.floor(nowMs / 1_000), body) },
      body,
      redirect: "error",
      signal,
    });
    await response.body?.cancel();
    const inTime = performance.now() - beganMs <= GOOD_MS ? "good" : "slow";
    return { problem: response.ok ? null : `status ${response.status}`, pace: TOO_MANY.has(response.status) ? "late" : inTime };
  } catch (error) {
    return { problem: error instanceof Error ? String(error.cause ?? error.message) : String(error), pace: "late" };
  } finally {
    release();
  }
}

/** The headers of Standard Webhooks: an HMAC with SHA-256 over id, time and body. */
function signed(secret: string, id: string, nowSeconds: number, body: string): Record<string, string> {
  const signature = createHmac("sha256", keyOf(secret)).update(`${id}.${nowSeconds}.${body}`).digest("base64");
  return { "webhook-id": id, "webhook-timestamp": String(nowSeconds), "webhook-signature": `v1,${signature}` };
}
