import { Admission } from "../api/admission/admission.ts";
import { documentReader } from "../shared/bus/damage.ts";
import { Reach } from "../shared/bus/reach.ts";
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
  const telling = config.webhookUrl === "" ? null : new Webhooks(deps).tellUntil(stop, reach);
  while (!stop.aborted) {
    try {
      const wasDoubtful = isDoubtful;
      isDoubtful = false; // from here on it is for the next look
      await open.recheck(wasDoubtful);
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
            workOn(deps, held, name).then((isLost) => {
              isDoubtful ||= isLost; // another has it, or the record came back with less: what was heard may lie elsewhere
              running.delete(batch.id);
            }),
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

/** Never rejects: what went wrong here is tried again, here or elsewhere, once the claim runs out. True if the batch was lost. */
async function workOn(deps: BatchDeps, held: HeldBatch, holder: string): Promise<boolean> {
  const { log, stopping: stop } = deps;
  const { id, epoch } = held.batch;
  log.info({ batch: id, epoch, holder, status: held.batch.status }, "working on a batch");
  try {
    await runBatch(deps, held, stop);
    return false;
  } catch (error) {
    const isLost = error instanceof HoldLost;
    if (stop.aborted) return isLost;
    if (isLost) log.info({ batch: id, epoch }, "another coordinator works on the batch, or the record was restored");
    else log.error({ batch: id, epoch, err: error }, "the work on a batch broke off");
    return isLost;
  }
}
