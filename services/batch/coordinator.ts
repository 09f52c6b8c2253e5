import { Admission } from "../api/admission/admission.ts";
import { documentReader } from "../shared/bus/damage.ts";
import { Reach } from "../shared/bus/reach.ts";
import { checkWebhook } from "./check-webhook.ts";
import { HeldBatch, HoldLost } from "./held-batch.ts";
import { type BatchDeps, batchLines } from "./lines-run.ts";
import { hasToEnd, OpenBatches } from "./open-batches.ts";
import { runBatch } from "./run-batch.ts";
import { Sweeps } from "./sweep.ts";
import { Webhooks } from "./webhooks.ts";

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
  const sweeps = new Sweeps(deps);
  const reach = new Reach(log, clock);
  let isDoubtful = false;
  batchLines(metrics);
  checkWebhook(config);
  const telling = config.webhookUrl === "" ? null : new Webhooks(deps).tellUntil(stop, reach);
  while (!stop.aborted) {
    try {
      await open.recheck(isDoubtful);
      isDoubtful = false;
      await open.hear();
      const nowMs = await bus.log.nowMs(open.seenMs);
      sweeps.beginIfDue(nowMs, () => open.inputs());
      for (const { batch, document } of open.free(nowMs, config.claimMs)) {
        if (running.size >= (hasToEnd(batch, nowMs) ? 2 : 1) * config.batchesMax) break; // an end does not wait for others' work
        if (running.has(batch.id)) continue;
        const held = await HeldBatch.claim(deps, document, name, stop);
        if (held !== null)
          running.set(
            batch.id,
            workOn(deps, held, name).finally(() => running.delete(batch.id)),
          );
      }
      reach.worked("batches");
    } catch (error) {
      isDoubtful = true;
      if (!stop.aborted) reach.failed("batches", error);
    }
    await clock.sleep(config.beatMs, stop).catch(() => {});
  }
  await Promise.all([...running.values(), sweeps.over, telling]);
}

/** Never rejects: what went wrong here is tried again, here or elsewhere, once the claim runs out. */
async function workOn(deps: BatchDeps, held: HeldBatch, holder: string): Promise<void> {
  const { log, stopping: stop } = deps;
  const { id, epoch } = held.batch;
  log.info({ batch: id, epoch, holder, status: held.batch.status }, "working on a batch");
  try {
    await runBatch(deps, held, stop);
  } catch (error) {
    if (stop.aborted) return;
    if (error instanceof HoldLost) log.info({ batch: id, epoch }, "another coordinator works on the batch");
    else log.error({ batch: id, epoch, err: error }, "the work on a batch broke off");
  }
}
