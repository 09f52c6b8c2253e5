import type { Bus, Claim, LogRecord, Message, Phase } from "../bus/contract.ts";
import { beatUntil } from "./beat.ts";
import type { WorkerDeps, WorkerSettings } from "./deps.ts";
import { HeldJob } from "./held-job.ts";
import type { Roster } from "./roster.ts";
import { settle } from "./settle.ts";
import { Slots } from "./slots.ts";

/** How long one pull waits for a message; also the longest until a lost connection is noticed and tried again. */
const PULL_MS = 2_000;
/** The record is away: the pause before the next try. */
const AWAY_MS = 500;

export interface StationOptions extends Pick<WorkerSettings, "model" | "worker" | "claimMs" | "beatMs"> {
  readonly phase: Phase;
  /** Jobs held at once. */
  readonly slots: number;
}

type StationDeps = Omit<WorkerDeps, "engine" | "store">;

/** Does the work of one held job, up to the event that ends this worker's part. */
export type Work = (job: HeldJob) => Promise<void>;

/**
 * Pulls work while there is a free slot, claims it and has it done, until `stop` aborts; then hands back what it holds and resolves. A
 * claim is the right to append; losing it ends the work in silence.
 */
export async function station(deps: StationDeps, options: StationOptions, roster: Roster, work: Work, stop: AbortSignal): Promise<void> {
  const { bus, clock, log } = deps;
  const slots = new Slots(options.slots);
  const ended = deps.metrics.counter("longshore_worker_jobs_total", "Jobs a worker took and let go of.", ["phase"]);
  const done = new AbortController();
  const load = () => JSON.stringify({ phase: options.phase, model: options.model, jobs: slots.taken, slots: options.slots });
  const background = [beatUntil(bus.registry, clock, options, load, done.signal), roster.watch(done.signal)].map((loop) =>
    loop.catch((error: unknown) => {
      if (!done.signal.aborted) log.error({ err: error }, "a background loop of the worker ended");
    }),
  );
  await roster.listen(done.signal);

  const carry = async (message: Message) => {
    const job = await take(deps, options, message);
    if (job === null) return;
    try {
      await roster.add(job);
      if (stop.aborted) roster.drain(DRAINED);
      job.check();
      await work(job);
    } catch (thrown) {
      await settle(bus, log, job, thrown);
    } finally {
      roster.remove(job);
      ended.inc({ phase: options.phase });
    }
  };
  const onStop = () => roster.drain(DRAINED);
  stop.addEventListener("abort", onStop, { once: true });
  try {
    while (!stop.aborted) {
      if (!(await slots.free(stop))) break;
      const failure = deps.engineFailure();
      if (failure !== null) throw failure; // a worker without an engine must not take jobs only to give them back
      const message = await pull(deps, options, stop);
      if (message === null) continue;
      slots.occupy(carry(message).catch((error: unknown) => log.warn({ err: error }, "a message is left for later")));
    }
  } finally {
    await slots.idle();
    stop.removeEventListener("abort", onStop);
    done.abort(new Error("the worker ended"));
    await Promise.all(background);
    await bus.registry.retire(options.phase, options.worker).catch(() => {}); // its beat ends by itself
  }
}

const DRAINED = "the worker was told to stop";

async function pull({ bus, clock, log }: StationDeps, { phase, model }: StationOptions, stop: AbortSignal): Promise<Message | null> {
  try {
    return await bus.queue.pull(phase, model, PULL_MS, stop);
  } catch (error) {
    if (stop.aborted) return null;
    log.warn({ err: error }, "no work can be pulled");
    await clock.sleep(AWAY_MS, stop).catch(() => {}); // stop: the loop looks
    return null;
  }
}

/** The job of a message, if it is ours to do. */
async function take({ bus, clock }: StationDeps, { phase, worker, claimMs }: StationOptions, message: Message): Promise<HeldJob | null> {
  const result = await bus.log.claim(message.item.jobId, phase, worker);
  switch (result.kind) {
    case "held":
      return null;
    case "over":
      await passAlong(bus, message);
      return null;
    case "exhausted":
      await giveUp(result.claim, result.last, message);
      return null;
    case "claimed":
      return new HeldJob(result.claim, message, await bus.log.read(message.item.jobId), { clock, claimMs });
  }
}

/**
 * The job is not in this message's phase. Where it only waits in the other one, whoever brought it there may have died before he published
 * its message: one more there is harmless, none would be a lost job.
 */
async function passAlong(bus: Bus, message: Message): Promise<void> {
  const last = await bus.log.last(message.item.jobId);
  if (last !== null && (last.event.type === "handed_over" || last.event.type === "sent_back") && last.phase !== message.phase) {
    const [first] = await bus.log.read(last.jobId);
    if (first?.event.type === "submitted") {
      await bus.queue.publish(last.phase, first.event.request.model, message.lane, { ...message.item, epoch: last.epoch });
    }
  }
  message.ack();
}

async function giveUp(claim: Claim, last: LogRecord, message: Message): Promise<void> {
  const reason = last.event.type === "released" ? `: ${last.event.reason}` : "";
  const failed = { type: "failed", code: "INTERNAL", message: `${last.attempt} workers in a row could not do this job${reason}` } as const;
  if ((await claim.append(failed)) !== null) message.ack();
}
