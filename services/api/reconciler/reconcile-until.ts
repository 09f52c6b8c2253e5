import type { Reach } from "../../shared/bus/reach.ts";
import type { Clock } from "../../shared/runtime/clock.ts";
import { isUnavailable } from "../../shared/runtime/errors.ts";
import type { Random } from "../../shared/runtime/random.ts";
import { Reconciler, type ReconcilerDeps, reconciledJobs } from "./reconciler.ts";
import { StorageWatch } from "./storage-watch.ts";

/** After this long the log itself is read again: notes, and with them jobs, may be lost with the index. */
const AUDIT_MS = 86_400_000;
/** Role under which reconcilers show themselves. */
const ROLE = "reconciler";

export interface ReconcilingOptions extends ReconcilerDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly reach: Reach;
  /** The name of this process among the others. */
  readonly replica: string;
}

/**
 * Every process that calls this may reconcile; the one that shows itself does, until it is gone, so that usually one is at work. Two for a
 * moment are harmless. It shows itself with what it gets done, not beside: one that is stuck is replaced. Resolves once `stop` aborted.
 */
export async function reconcileUntil(options: ReconcilingOptions, stop: AbortSignal): Promise<void> {
  const { bus, clock, log, metrics, reach, replica } = options;
  reconciledJobs(metrics);
  const alive = () => bus.registry.beat(ROLE, replica, "");
  const deps = { ...options, alive };
  const storage = new StorageWatch(bus, clock, log);
  let reconciler: Reconciler | null = null;
  let auditMs = clock.monotonicMs() + AUDIT_MS;
  let more = false;
  let full = false;
  while (!stop.aborted) {
    try {
      if (!more) await clock.sleep(spread(options), stop);
      more = false;
      if (!(await hasTurn(options, reconciler !== null))) {
        reconciler = null; // what it knew gets old
        auditMs = clock.monotonicMs() + AUDIT_MS; // whoever has the turn sees to it
        reach.worked("jobs");
        continue;
      }
      await alive();
      await storage.look();
      if (clock.monotonicMs() >= auditMs) {
        if (reconciler === null) reconciler = await Reconciler.audit(deps);
        else await reconciler.audit();
        auditMs = clock.monotonicMs() + AUDIT_MS;
      }
      reconciler ??= await Reconciler.open(deps);
      more = await reconciler.pass();
      reach.worked("jobs");
      const { noRoom } = reconciler;
      if (noRoom !== null && !full) log.warn(`open jobs wait for room in the record, and cannot be put back or ended: ${noRoom.message}`);
      full = noRoom !== null;
    } catch (error) {
      if (!isUnavailable(error)) reconciler = null; // else it would not see what became of the index meanwhile
      if (!stop.aborted) reach.failed("jobs", error);
    }
  }
  await bus.registry.retire(ROLE, replica).catch(() => {}); // its beat ends by itself
}

/** Whoever is at work goes on, but for another at work with an earlier name; whoever is not begins only where nobody else shows himself. */
async function hasTurn({ bus: { registry }, replica }: ReconcilingOptions, working: boolean): Promise<boolean> {
  const others = async () => [...(await registry.beats(ROLE)).keys()].filter((name) => name !== replica);
  if (working) return (await others()).every((name) => replica < name);
  if ((await others()).length > 0) return false;
  await registry.beat(ROLE, replica, "");
  if ((await others()).length === 0) return true;
  await registry.retire(ROLE, replica); // two came at once: each tries again in its own time
  return false;
}

/** A half to one and a half times as long, so that replicas that started together do not stay together. */
const spread = ({ beatMs, random }: ReconcilingOptions): number => 2 * beatMs * (0.5 + random.u32() / 2 ** 32);
