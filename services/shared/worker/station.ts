import type { JobQueue, Message, Phase } from "../bus/contract.ts";
import { isDamaged } from "../bus/damage.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Metrics } from "../runtime/metrics.ts";
import { beatUntil } from "./beat.ts";
import { claimJob } from "./claim-job.ts";
import type { WorkerDeps, WorkerSettings } from "./deps.ts";
import { type HeldJob, waitedMs } from "./held-job.ts";
import { Pace } from "./pace.ts";
import { drained, Roster } from "./roster.ts";
import { settle } from "./settle.ts";
import { Slots } from "./slots.ts";

/** How long one pull waits for a message; also the longest until a lost connection is noticed and tried again. */
const PULL_MS = 2_000;
/** How often a full worker looks whether interactive work waits. */
const MAKE_WAY_MS = 250;
/** The record is away: the pause before the next try. */
const AWAY_MS = 500;

export interface StationOptions extends Pick<WorkerSettings, "model" | "worker" | "claimMs" | "beatMs"> {
  readonly phase: Phase;
  /** Jobs held at once. */
  readonly slots: number;
}

type StationDeps = Omit<WorkerDeps, "engine" | "store" | "grammars">;

/** Does the work of one held job, up to the event that ends this worker's part. */
export type Work = (job: HeldJob) => Promise<void>;

/**
 * Pulls work while there is a free slot, claims it and has it done, until `stop` aborts; then hands back what it holds and resolves. A
 * claim is the right to append; losing it ends the work in silence.
 */
export async function station(deps: StationDeps, options: StationOptions, work: Work, stop: AbortSignal): Promise<void> {
  const roster = new Roster(deps.bus.registry, deps.clock);
  const slots = new Slots(options.slots);
  const pace = new Pace(deps.clock);
  const done = new AbortController();
  const background = inBackground(deps, options, roster, slots, pace, done.signal);
  const onStop = () => roster.drain();
  stop.addEventListener("abort", onStop, { once: true });
  const deaf = deps.pulse.onBeat(() => roster.pulse());
  try {
    await roster.listen(done.signal);
    while (await slots.free(stop)) {
      const failure = deps.engineFailure();
      if (failure !== null) throw failure; // a worker without an engine must not take jobs only to give them back
      const message = await pull(deps, options, slots.room, stop);
      if (message !== null) slots.occupy(carry(deps, options, roster, pace, work, message, stop));
    }
  } finally {
    await slots.idle();
    stop.removeEventListener("abort", onStop);
    deaf();
    done.abort(new Error("the worker ended"));
    await background;
  }
}

/** From a message to the event that ends our part. Never rejects: what cannot be handed back is taken over. */
async function carry(
  deps: StationDeps,
  options: StationOptions,
  roster: Roster,
  pace: Pace,
  work: Work,
  message: Message,
  stop: AbortSignal,
) {
  const { bus, clock, log, metrics } = deps;
  const { phase } = options;
  const figures = figuresOf(metrics);
  const job = await claimJob(bus, { ...options, clock }, message).catch((error: unknown) => {
    if (!isDamaged(error)) log.warn({ err: error, jobId: message.item.jobId }, "a message is left for later");
    return null; // a job that cannot be read is told once, by the log; its message comes again, perhaps to a newer version
  });
  if (job === null) return;
  pace.begin(job);
  figures.held.inc({ phase });
  figures.wait.observe({ phase }, waitedMs(job.history) / 1_000);
  try {
    roster.add(job);
    if (stop.aborted) job.handBack(drained());
    job.check();
    await work(job);
  } catch (thrown) {
    await settle(log, job, thrown);
  } finally {
    roster.remove(job);
    pace.end(job);
    figures.held.dec({ phase });
    figures.ended.inc({ phase, end: job.ended ?? "lost" });
  }
}

const figuresOf = (metrics: Metrics) => ({
  ended: metrics.counter("longshore_worker_jobs_total", "Jobs a worker took, by how its part ended.", ["phase", "end"]),
  held: metrics.gauge("longshore_worker_jobs_held", "Jobs held now.", ["phase"]),
  wait: metrics.histogram("longshore_worker_wait_seconds", "From when a job could be claimed until it was.", WAIT_SECONDS, ["phase"]),
});

const WAIT_SECONDS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1_000, 3_000];

/** The signs of life, and the ears for cancels and deadlines. */
async function inBackground(
  { bus, clock, log }: StationDeps,
  options: StationOptions,
  roster: Roster,
  slots: Slots,
  pace: Pace,
  done: AbortSignal,
) {
  const { phase, model, worker } = options;
  const load = () => JSON.stringify({ phase, model, jobs: slots.taken, slots: options.slots, ...pace.figures() });
  const loops = [
    beatUntil(bus.registry, clock, options, load, done),
    roster.watch(done),
    makeWay(bus.queue, clock, options, roster, slots, done),
  ];
  const ended = (error: unknown) => {
    if (!done.aborted) log.error({ err: error }, "a background loop of the worker ended");
  };
  await Promise.all(loops.map((loop) => loop.catch(ended)));
  await bus.registry.retire(phase, worker).catch(() => {}); // its beat ends by itself
}

/** A worker full of batch jobs gives one back as soon as interactive work waits (design 4.2). Rejects when `done` aborts. */
async function makeWay(
  queue: JobQueue,
  clock: Clock,
  { phase, model }: StationOptions,
  roster: Roster,
  slots: Slots,
  done: AbortSignal,
): Promise<never> {
  for (;;) {
    await clock.sleep(MAKE_WAY_MS, done);
    if (!slots.full || !roster.holdsBatchJobs) continue;
    if (await queue.waits(phase, model, "interactive").catch(() => false)) roster.makeWay(); // the record is away: nothing could be pulled
  }
}

async function pull(
  { bus, clock, log }: StationDeps,
  { phase, model }: StationOptions,
  room: number,
  stop: AbortSignal,
): Promise<Message | null> {
  try {
    return await bus.queue.pull(phase, model, PULL_MS, stop, room);
  } catch (error) {
    if (stop.aborted) return null;
    log.warn({ err: error }, "no work can be pulled");
    await clock.sleep(AWAY_MS, stop).catch(() => {}); // stop: the loop looks
    return null;
  }
}
