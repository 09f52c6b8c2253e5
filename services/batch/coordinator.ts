import { Admission } from "../api/admission.ts";
import { type Batch, batchOf, hasEnded, isFree } from "../shared/batches/batch.ts";
import type { Document } from "../shared/bus/contract.ts";
import { documentReader } from "../shared/bus/damage.ts";
import { Heard } from "./heard.ts";
import { HeldBatch, HoldLost } from "./held-batch.ts";
import { type BatchDeps, batchLines } from "./lines-run.ts";
import { runBatch } from "./run-batch.ts";
import { sweepFiles } from "./sweep.ts";
import { checkWebhook, Webhooks } from "./webhooks.ts";

type CoordinatorDeps = Omit<BatchDeps, "admission" | "stopping" | "readable">;

/**
 * Works on every batch that nobody works on, a bounded number at once, until `stop` aborts. Any number of coordinators may run: who writes a
 * batch first has it, and whoever stops writing loses it. Knows nothing that is not in the record.
 */
export async function coordinate(given: CoordinatorDeps, stop: AbortSignal): Promise<void> {
  const { bus, clock, config, model, random, log, metrics } = given;
  const admission = new Admission(bus, clock, model.name, config);
  const deps: BatchDeps = { ...given, admission, stopping: stop, readable: documentReader(log, metrics) };
  const name = random.id("coordinator_");
  const open = new OpenBatches(deps);
  const running = new Map<string, Promise<void>>();
  const webhooks = new Webhooks(deps);
  let sweepMs = 0;
  let swept: Promise<void> = Promise.resolve();
  let isDoubtful = false;
  batchLines(metrics);
  checkWebhook(config);
  while (!stop.aborted) {
    try {
      if (isDoubtful) await Promise.all([open.recheck(), webhooks.recheck()]);
      isDoubtful = false;
      await open.hear();
      const nowMs = await bus.log.nowMs(open.seenMs);
      if (config.webhookUrl !== "") {
        await webhooks.hear();
        webhooks.tellDue(nowMs);
      }
      if (nowMs >= sweepMs) {
        sweepMs = Number.POSITIVE_INFINITY; // until it is over: no batch waits for it
        swept = sweep(open.inputs(), nowMs);
      }
      for (const { batch, document } of open.free(nowMs, config.claimMs)) {
        if (running.size >= (hasToEnd(batch, nowMs) ? 2 : 1) * config.batchesMax) break; // an end does not wait for others' work
        if (running.has(batch.id)) continue;
        const held = await HeldBatch.claim(deps, document, name, stop);
        if (held !== null)
          running.set(
            batch.id,
            run(held).finally(() => running.delete(batch.id)),
          );
      }
    } catch (error) {
      isDoubtful = true;
      if (!stop.aborted) log.warn({ err: error }, "the batches could not be looked at; the next try is a moment off");
    }
    await clock.sleep(config.beatMs, stop).catch(() => {});
  }
  await Promise.all([...running.values(), swept]);

  /** Never rejects: what stays goes with the next one. */
  async function sweep(used: ReadonlySet<string>, nowMs: number): Promise<void> {
    try {
      await sweepFiles(deps, used, nowMs);
    } catch (error) {
      if (!stop.aborted) log.warn({ err: error }, "files whose life is over could not be deleted; the next sweep tries again");
    }
    sweepMs = nowMs + SWEEP_MS;
  }

  /** Never rejects: what went wrong here is tried again, here or elsewhere, once the claim runs out. */
  async function run(held: HeldBatch): Promise<void> {
    const { id, epoch } = held.batch;
    log.info({ batch: id, epoch, holder: name, status: held.batch.status }, "working on a batch");
    try {
      await runBatch(deps, held, stop);
    } catch (error) {
      if (stop.aborted) return;
      if (error instanceof HoldLost) log.info({ batch: id, epoch }, "another coordinator works on the batch");
      else log.error({ batch: id, epoch, err: error }, "the work on a batch broke off");
    }
  }
}

/** Between two looks for files whose life is over. */
const SWEEP_MS = 600_000;

interface Open {
  readonly batch: Batch;
  readonly document: Document;
}

/** The batches that have not ended, as the record last told: each look reads what was written since the one before. */
class OpenBatches {
  readonly #deps: Pick<BatchDeps, "bus" | "readable">;
  readonly #heard: Heard;
  readonly #open = new Map<string, Open>();
  #seenMs = 0;

  constructor(deps: Pick<BatchDeps, "bus" | "readable">) {
    this.#deps = deps;
    this.#heard = new Heard(deps.bus, "batch");
  }

  /** The latest that a batch was written, by the record's clock. */
  get seenMs(): number {
    return this.#seenMs;
  }

  async hear(): Promise<void> {
    for await (const document of this.#heard.more()) {
      const batch = this.#deps.readable("batch", document, batchOf);
      this.#open.delete(document.id);
      if (batch !== null && !hasEnded(batch)) this.#open.set(document.id, { batch, document });
      this.#seenMs = Math.max(this.#seenMs, document.storedMs);
    }
  }

  /** After the record was away. */
  async recheck(): Promise<void> {
    if (!(await this.#heard.isToBeginAgain())) return;
    this.#open.clear();
    this.#seenMs = 0;
  }

  /** Files that are read yet. */
  inputs(): ReadonlySet<string> {
    return new Set(Array.from(this.#open.values(), ({ batch }) => batch.inputFileId));
  }

  /** Those that may be claimed: first what has to end, then of the tenant with the fewest at work, then the oldest. */
  free(nowMs: number, claimMs: number): readonly Open[] {
    const open = [...this.#open.values()].sort(({ batch: a }, { batch: b }) => a.createdAt - b.createdAt);
    const isFreeNow = ({ batch, document }: Open) => isFree(batch, document.storedMs, nowMs, claimMs);
    const counts = new Map<string, number>();
    const counted = ({ batch: { tenant } }: Open) => {
      const before = counts.get(tenant) ?? 0;
      counts.set(tenant, before + 1);
      return before;
    };
    for (const one of open) if (!isFreeNow(one)) counted(one);
    return open
      .filter(isFreeNow)
      .map((one) => ({ one, rank: hasToEnd(one.batch, nowMs) ? -1 : counted(one) }))
      .sort((a, b) => a.rank - b.rank)
      .map(({ one }) => one);
  }
}

/** Nothing of it is to be run any more. */
const hasToEnd = ({ cancellingAt, expiresAt }: Batch, nowMs: number): boolean => cancellingAt !== null || nowMs >= 1_000 * expiresAt;
