import { createHmac } from "node:crypto";
import { type JobEnd, jobEndOf } from "../api/jobs/job-end.ts";
import { batchOf, hasEnded } from "../shared/batches/batch.ts";
import { derivedId } from "../shared/batches/ids.ts";
import { toldOf } from "../shared/bus/away.ts";
import type { Document } from "../shared/bus/contract.ts";
import { ServingError } from "../shared/runtime/errors.ts";
import { linked } from "../shared/runtime/pause.ts";
import { keyOf } from "./check-webhook.ts";
import { Heard } from "./heard.ts";
import type { BatchDeps } from "./lines-run.ts";
import { Untaken } from "./untaken.ts";

/** Tries of one event, and the time between them: about two hours altogether. */
const TRIES_MAX = 10;
const RETRY_SECONDS = 5;
const RETRY_SECONDS_MAX = 1_800;
const ANSWER_MS = 10_000;
/** Of the time that a stop may take: receivers have so much of it to answer, and the record the rest to take what they said. */
const LAST_ANSWERS = 0.25;
/** Ends that are told at once. */
const TELLING_MAX = 16;

type WebhookDeps = Pick<BatchDeps, "bus" | "clock" | "config" | "log" | "readable">;
type TellDeps = Pick<WebhookDeps, "bus" | "config" | "log"> & { readonly untaken: Untaken };

/** What has an end to tell. */
const KINDS = ["batch", "event"] as const;
type Kind = (typeof KINDS)[number];

interface Untold {
  readonly kind: Kind;
  readonly document: Document;
  readonly nextAt: number;
}

/** The ends of batches and jobs that are not told, as the record last told: each look reads what was written since the one before. */
export class Webhooks {
  readonly #deps: WebhookDeps;
  readonly #heard: Record<Kind, Heard>;
  readonly #untold = new Map<string, Untold>();
  readonly #telling = new Map<string, Promise<void>>();
  readonly #cut = new AbortController();
  readonly #untaken: Untaken;

  constructor(deps: WebhookDeps) {
    this.#deps = deps;
    this.#untaken = new Untaken(deps.log, deps.clock);
    this.#heard = { batch: new Heard(deps.bus, "batch"), event: new Heard(deps.bus, "event") };
  }

  /** After the record was away. */
  async recheck(): Promise<void> {
    for (const kind of KINDS) {
      if (!(await this.#heard[kind].isToBeginAgain())) continue;
      for (const [key, untold] of this.#untold) if (untold.kind === kind) this.#untold.delete(key);
    }
  }

  async hear(): Promise<void> {
    for (const kind of KINDS)
      for await (const document of this.#heard[kind].more()) {
        const end = this.#deps.readable(kind, document, () => endOf(kind, document));
        const webhook = end?.webhook ?? null;
        const key = keyOfDocument(kind, document);
        if (webhook === null) this.#untold.delete(key);
        else this.#untold.set(key, { kind, document, nextAt: webhook.nextAt });
      }
  }

  /** Begins to tell what is due, a bounded number at once. */
  tellDue(nowMs: number): void {
    for (const [key, untold] of this.#untold) {
      if (this.#telling.size >= TELLING_MAX) return;
      if (1_000 * untold.nextAt > nowMs || this.#telling.has(key)) continue;
      this.#telling.set(
        key,
        this.#tell(key, untold, nowMs).finally(() => this.#telling.delete(key)),
      );
    }
  }

  /** For a stop: resolves once what is being told was taken, or was not. What its receiver leaves unanswered is told again, by whoever is there then. Never rejects. */
  async over(): Promise<void> {
    const { clock, config } = this.#deps;
    const answered = clock.after(LAST_ANSWERS * config.drainMs, () => this.#cut.abort(new Error("this coordinator stops")));
    await Promise.all(this.#telling.values());
    answered();
  }

  /** Never rejects. */
  async #tell(key: string, untold: Untold, nowMs: number): Promise<void> {
    const { kind, document } = untold;
    try {
      await tell({ ...this.#deps, untaken: this.#untaken }, kind, document, nowMs, this.#cut.signal);
      if (this.#untold.get(key) === untold) this.#untold.delete(key); // it was written anew, and will be heard, or is gone
    } catch (error) {
      if (ServingError.from(error).code === "INTERNAL")
        this.#deps.log.warn({ [kind]: document.id, err: error }, "a webhook could not be sent");
      else this.#untaken.failed(toldOf(error), false);
    }
  }
}

/**
 * Tells an end once more, at least once altogether: who tries says so first, so that only one does, and says when it was taken. Given up after
 * TRIES_MAX.
 */
async function tell(deps: TellDeps, kind: Kind, document: Document, nowMs: number, cut: AbortSignal): Promise<void> {
  const { bus, config, log, untaken } = deps;
  const end = endOf(kind, document);
  if (end?.webhook == null) return;
  const { tenant, id, text } = document;
  const write = (webhook: JobEnd["webhook"], after: number) =>
    bus.documents.put(kind, tenant, id, JSON.stringify({ ...(JSON.parse(text) as object), webhook }), after);
  const tries = end.webhook.tries + 1;
  const waitSeconds = Math.min(RETRY_SECONDS_MAX, RETRY_SECONDS * 2 ** end.webhook.tries);
  const place = await write({ tries, nextAt: Math.floor(nowMs / 1_000) + Math.max(waitSeconds, ANSWER_MS / 1_000) }, document.place);
  if (place === null) return;
  const problem = await post(config, end, Math.floor(nowMs / 1_000), cut);
  if (problem === null) untaken.worked();
  else if (cut.aborted) return;
  else {
    log.debug({ [kind]: id, tries, problem }, "a webhook was not taken");
    untaken.failed(problem, tries >= TRIES_MAX);
    if (tries < TRIES_MAX) return;
  }
  await write(null, place);
}

/** What a document says of an end; null before it. */
function endOf(kind: Kind, document: Document): JobEnd | null {
  if (kind === "event") return jobEndOf(document);
  const batch = batchOf(document);
  return hasEnded(batch) ? { type: `batch.${batch.status}`, id: batch.id, endedAt: batch.endedAt!, webhook: batch.webhook } : null;
}

const keyOfDocument = (kind: Kind, { tenant, id }: Document): string => `${kind}\n${tenant}\n${id}`;

/** What was wrong; null if it was taken. */
async function post(config: BatchDeps["config"], end: JobEnd, nowSeconds: number, cut: AbortSignal): Promise<string | null> {
  const id = derivedId("evt_", end.id); // of every try: the receiver knows it again
  const body = JSON.stringify({ id, object: "event", type: end.type, created_at: end.endedAt, data: { id: end.id } });
  const { signal, release } = linked(AbortSignal.timeout(ANSWER_MS), cut);
  try {
    const response = await fetch(config.webhookUrl, {
      method: "POST",
      headers: { "content-type": "application/json", ...signed(config.webhookSecret, id, nowSeconds, body) },
      body,
      redirect: "error",
      signal,
    });
    await response.body?.cancel();
    return response.ok ? null : `status ${response.status}`;
  } catch (error) {
    return error instanceof Error ? String(error.cause ?? error.message) : String(error);
  } finally {
    release();
  }
}

/** The headers of Standard Webhooks: an HMAC with SHA-256 over id, time and body. */
function signed(secret: string, id: string, nowSeconds: number, body: string): Record<string, string> {
  const signature = createHmac("sha256", keyOf(secret)).update(`${id}.${nowSeconds}.${body}`).digest("base64");
  return { "webhook-id": id, "webhook-timestamp": String(nowSeconds), "webhook-signature": `v1,${signature}` };
}
