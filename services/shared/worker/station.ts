import { beatWhile } from "../bus/beat.ts";
import type { Message } from "../bus/contract.ts";
import { isDamaged } from "../bus/damage.ts";
import { LANES, type Phase, rank } from "../bus/events.ts";
import { Reach } from "../bus/reach.ts";
import type { Metrics } from "../runtime/metrics.ts";
import { claimJob } from "./claim-job.ts";
import type { WorkerDeps, WorkerSettings } from "./deps.ts";
import type { HeldJob } from "./held-job.ts";
import { loggedTokens, sinceSubmittedMs, waitedMs } from "./history.ts";
import type { KvRoom } from "./kv-room.ts";
import { Pace } from "./pace.ts";
import { drained, Roster } from "./roster.ts";
import { settle } from "./settle.ts";
import { Slots } from "./slots.ts";

/** How long one pull waits for a message; also the longest until a lost connection is noticed and tried again. */
const PULL_MS = 2_000;
/** How often a worker without a free slot, or without room, checks for work that goes before its own. */
const MAKE_WAY_MS = 250;
/** Pause before the next pull while the record is away. */
const AWAY_MS = 500;

interface StationOptions extends Pick<WorkerSettings, "model" | "worker" | "claimMs" | "beatMs"> {
  readonly phase: Phase;
  /** How long a job keeps its slot at least while others of its lane wait; infinite: to its end. */
  readonly turnMs: number;
  /** How long one uninterrupted computation takes; reported in the beat beside `turnMs`. */
  readonly chunkMs?: number;
  /** Jobs held at once. */
  readonly slots: number;
  /** Room for the KV of these jobs. */
  readonly room: KvRoom;
}

type StationDeps = Omit<WorkerDeps, "engine" | "store" | "grammars">;

/** Does the work of one held job, up to the event that ends this worker's part. */
type Work = (job: HeldJob) => Promise<void>;

/**
 * Pulls work while there is a free slot, claims it and has it done, until `stop` aborts; then hands back what it holds
 * and resolves. A claim is the right to append; losing it ends the work in silence.
 */
export async function station(deps: StationDeps, options: StationOptions, work: Work, stop: AbortSignal): Promise<void> {
  const { bus, clock, metrics } = deps;
  const roster = new Roster(bus.registry, clock);
  const held = new Slots(options.slots);
  const reach = new Reach(deps.log, clock, deps.onReach);
  const here: Station = { ...deps, ...options, roster, held, reach, pace: new Pace(clock), figures: figuresOf(metrics) };
  const done = new AbortController();
  const background = inBackground(here, done.signal);
  options.room.clearedBy((lane) => roster.leavers(held.taken, lane));
  const onStop = () => roster.drain();
  stop.addEventListener("abort", onStop, { once: true });
  const deaf = deps.pulse.onBeat(() => roster.pulse());
  try {
    await roster.listen(done.signal);
    while (!stop.aborted) {
      const failure = deps.engineFailure();
      if (failure !== null) throw failure; // a worker without an engine must not take jobs only to give them back
      if (isShort(here)) await overtake(here, work, stop);
      else await pull(here, work, stop);
    }
  } finally {
    await held.idle();
    stop.removeEventListener("abort", onStop);
    deaf();
    done.abort(new Error("the worker ended"));
    await background;
  }
}

interface Station extends StationDeps, StationOptions {
  readonly roster: Roster;
  readonly held: Slots;
  readonly reach: Reach;
  readonly pace: Pace;
  readonly figures: ReturnType<typeof figuresOf>;
}

/** Whether slots are short, or room for the KV of a job: then nothing is pulled. */
const isShort = ({ held, room }: Station): boolean => held.full || room.first !== null;

/**
 * Claims the job of a message. From then on the job learns of cancels and deadlines, whether it has a slot or waits for
 * one. Null if it is not ours to do now. Never rejects.
 */
async function take(here: Station, message: Message): Promise<HeldJob | null> {
  const { bus, log, phase, roster, pace, figures } = here;
  const job = await claimJob(bus, here, message).catch((error: unknown) => {
    if (!isDamaged(error)) log.warn({ err: error, jobId: message.item.jobId }, "a message is left for later");
    return null; // the log tells of an unreadable job once; its message comes again, perhaps to a newer version
  });
  if (job === null) return null;
  pace.begin(job);
  figures.held.inc({ phase });
  figures.wait.observe({ phase }, waitedMs(job.history) / 1_000);
  roster.add(job);
  return job;
}

/** From a claim to the event that ends our part. Never rejects: a job that cannot be handed back is taken over. */
async function carry(here: Station, work: Work, job: HeldJob, stop: AbortSignal): Promise<void> {
  const { phase, roster, pace, figures } = here;
  try {
    if (stop.aborted) job.handBack(drained());
    job.check();
    await work(job);
  } catch (thrown) {
    await settle(here, job, thrown);
  } finally {
    roster.remove(job);
    pace.end(job);
    figures.held.dec({ phase });
    count(figures, phase, job);
  }
}

function count(figures: Station["figures"], phase: Phase, { ended, history, request }: HeldJob): void {
  figures.ended.inc({ phase, end: ended?.event.type ?? "lost" });
  if (ended?.event.type !== "handed_over" || loggedTokens(history).length > 0) return; // else an earlier hand-over drew the first token
  figures.first.observe({ lane: request.lane }, sinceSubmittedMs(history, ended) / 1_000);
}

const figuresOf = (metrics: Metrics) => ({
  ended: metrics.counter("longshore_worker_jobs_total", "Jobs a worker took, by how its part ended.", ["phase", "end"]),
  held: metrics.gauge("longshore_worker_jobs_held", "Jobs held now.", ["phase"]),
  kv: metrics.gauge("longshore_worker_kv_bytes", "KV that jobs hold, or that is promised to them.", ["phase"]),
  first: metrics.histogram(
    "longshore_worker_first_token_seconds",
    "From when a job was submitted until its first token was in the record.",
    WAIT_SECONDS,
    ["lane"],
  ),
  wait: metrics.histogram("longshore_worker_wait_seconds", "From when a job could be claimed until it was.", WAIT_SECONDS, ["phase"]),
});

const WAIT_SECONDS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1_000, 3_000];

/** Sends beats, and watches for cancels and deadlines, until `done` aborts. */
async function inBackground(here: Station, done: AbortSignal) {
  const { bus, clock, log, phase, model, worker, beatMs, roster, held, reach, slots, turnMs, chunkMs, pace, room, figures } = here;
  const turns = () => Number.isFinite(turnMs) && !roster.stuck && { turnMs, chunkMs };
  const load = () => {
    figures.kv.set({ phase }, room.bytes);
    return JSON.stringify({ phase, model, jobs: held.taken, slots, ...turns(), ...pace.figures() });
  };
  const told = (failure: unknown) => (failure === null ? reach.worked("beat") : reach.failed("beat", failure));
  const beat = beatWhile({ registry: bus.registry, clock, beatMs, told }, phase, worker, load, done);
  const loops = [beat, roster.watch(done)];
  const ended = (error: unknown) => {
    if (!done.aborted) log.error({ err: error }, "a background loop of the worker ended");
  };
  await Promise.all(loops.map((loop) => loop.catch(ended)));
  await bus.registry.retire(phase, worker).catch(() => {}); // its beat expires
}

/**
 * Takes work for which no other worker has a free slot, while this one is short of slots or room: at once if the job
 * that waits for room is of a lane behind, else once a job here may make way. The work is claimed before any job
 * leaves, so that of many workers only one makes way, and only for work that is to be done. Its claim is kept while it
 * waits for the slot.
 */
async function overtake(here: Station, work: Work, stop: AbortSignal): Promise<void> {
  const { clock, held } = here;
  await held.ended(clock, MAKE_WAY_MS, stop);
  while (!stop.aborted && isShort(here)) {
    const found = await overtaker(here);
    const job = found === null ? null : await take(here, found.message);
    if (job === null) return;
    if (held.full) found?.leaver?.job.handBack(found.leaver.reason);
    while (held.full && !stop.aborted) await held.ended(clock, MAKE_WAY_MS, stop);
    held.occupy(carry(here, work, job, stop));
  }
}

/**
 * The next message of the lanes before that of the job that waits for room, or before the batch lane if none waits; and
 * the job that makes way if no slot is free.
 */
async function overtaker({ bus, phase, model, roster, held, room }: Station) {
  for (const lane of LANES.slice(0, rank(room.first?.request.lane ?? "batch"))) {
    const leaver = held.full ? roster.leaver(held.taken, lane) : null;
    if (held.full && leaver === null) continue;
    const message = await bus.queue.poll(phase, model, lane).catch(() => null); // the record is away: nothing could be pulled
    if (message !== null) return { message, leaver };
  }
  return null;
}

/** Pulls the next job and has it done in a free slot, which it occupies from its message on. */
async function pull(here: Station, work: Work, stop: AbortSignal): Promise<void> {
  const { bus, clock, phase, model, held, reach, room } = here;
  try {
    const message = await bus.queue.pull(phase, model, PULL_MS, stop, room.careful ? 1 : held.room);
    reach.worked("work");
    if (message === null) return;
    const carried = take(here, message).then((job) => (job === null ? undefined : carry(here, work, job, stop)));
    held.occupy(carried);
    if (room.careful) await Promise.race([room.decision(PULL_MS, stop), carried]);
  } catch (error) {
    if (stop.aborted) return;
    reach.failed("work", error);
    await clock.sleep(AWAY_MS, stop).catch(() => {}); // stopped: the loop checks
  }
}
