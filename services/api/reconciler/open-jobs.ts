import type { Bus, Noted } from "../../shared/bus/contract.ts";
import { isTerminal } from "../../shared/bus/events.ts";
import { quietMs } from "../../shared/bus/standing.ts";
import { atMost } from "../../shared/runtime/at-most.ts";
import { readNote, requestOf } from "../jobs/jobs.ts";

/** Jobs known at once: admission keeps them far below. What is beyond is found by the next audit. */
const JOBS_MAX = 1_000_000;
/** Notes and marks read together. */
const PAGE = 1_000;
/** Jobs looked at in one pass though nothing seems wrong: their messages may be of the kind that no worker is given any more. */
const OTHERS_MAX = 32;
/** Deadlines asked of the log in one pass, for jobs that were found without their note. */
const LEARN_MAX = 256;
const LEARN_AT_ONCE = 32;

export interface Open {
  readonly jobId: string;
  /** Of its note; null if it was found without. */
  place: number | null;
  /** Since when it is known, by the record's clock. */
  readonly sinceMs: number;
  /** Null until it is known. */
  deadlineMs: number | null;
  /** The replica that took it, of a job that is for a reader; null where there is none, or it is not known. */
  replica: string | null;
  cancelledBy: string | null;
  /** When the log was found without it first, since it was noted last; null: it was not. */
  missingMs: number | null;
}

/** The jobs that have not ended, as far as is known: what the log held at the beginning, and what was noted since. */
export class OpenJobs {
  readonly #jobs = new Map<string, Open>();
  #notesRead = 0;
  /** Whose note that was; null where nobody read it. */
  #newest: string | null = null;
  #marksRead = 0;
  #marked = 0;

  /** Goes on where somebody stopped before: what was noted behind the low-water mark may be open. Null without a mark that means anything. */
  static async resume({ registry }: Bus): Promise<OpenJobs | null> {
    const lowWater = await registry.lowWater();
    if (lowWater === null) return null;
    if ((await registry.indexEnd()) < lowWater) {
      await registry.raiseLowWater(0);
      return null;
    }
    const jobs = new OpenJobs();
    jobs.#notesRead = jobs.#marked = lowWater;
    return jobs;
  }

  /**
   * Reads the last event of every job: nothing but the log is needed, but a server that keeps a million jobs is busy with it for seconds. A
   * job is noted before it is submitted, so one that came meanwhile is found by its note: the latest of which the log does not know the end are taken in,
   * however old they seem. So are those that ended in the last `unbornMs`, and all that `before` knew: nobody may have seen it. `alive` is called after every page of it.
   */
  static async audit(bus: Bus, unbornMs: number, alive: () => Promise<void>, before: OpenJobs | null): Promise<OpenJobs> {
    const jobs = new OpenJobs();
    if (before !== null)
      for (const { jobId, sinceMs, deadlineMs, replica } of before.#jobs.values()) jobs.#add({ jobId, sinceMs, deadlineMs, replica });
    const notes = await bus.registry.jobs(10 * PAGE);
    jobs.#notesRead = notes[0]?.place ?? 0;
    jobs.#newest = notes[0]?.jobId ?? null;
    const unended = new Map(notes.map((note) => [note.jobId, note]));
    const nowMs = await bus.log.nowMs();
    let read = 0;
    for await (const { jobId, record, storedMs } of bus.log.lasts()) {
      if (++read % PAGE === 0) await alive();
      if (record !== null && isTerminal(record.event) && quietMs(storedMs, nowMs) >= unbornMs) unended.delete(jobId);
      else jobs.#add({ jobId, sinceMs: nowMs, deadlineMs: record?.event.type === "submitted" ? record.event.request.deadlineMs : null });
    }
    for (const note of unended.values()) jobs.#note(note);
    return jobs;
  }

  has(jobId: string): boolean {
    return this.#jobs.has(jobId);
  }

  drop(jobId: string): void {
    this.#jobs.delete(jobId);
  }

  /**
   * Takes in what was noted and marked since the last time. False if the index is not what it was: a power cut takes its end, and what is
   * noted then gets places that were read already.
   */
  async hear({ registry }: Bus): Promise<boolean> {
    const notes = await all((after) => registry.notes(after, PAGE), Math.max(0, this.#notesRead - 1));
    const [first] = notes;
    if (first === undefined && (await registry.indexEnd()) < this.#notesRead) return false;
    if (first?.place === this.#notesRead && this.#newest !== null && first.jobId !== this.#newest) return false;
    for (const note of notes) if (note.place > this.#notesRead) this.#note(note);
    this.#notesRead = notes.at(-1)?.place ?? this.#notesRead;
    this.#newest = notes.at(-1)?.jobId ?? this.#newest;
    const marks = await all((after) => registry.cancelMarks(after, PAGE), this.#marksRead);
    for (const { jobId, text } of marks) {
      const job = this.#jobs.get(jobId);
      if (job !== undefined) job.cancelledBy = text;
    }
    this.#marksRead = marks.at(-1)?.place ?? this.#marksRead;
    return true;
  }

  /** Tells whoever takes over how much of the index he may skip. */
  async mark({ registry }: Bus): Promise<void> {
    let place = this.#notesRead;
    for (const job of this.#jobs.values()) place = Math.min(place, (job.place ?? 1) - 1);
    if (place > this.#marked) await registry.raiseLowWater(place);
    this.#marked = Math.max(place, this.#marked);
  }

  /** Up to `max` jobs to look at, those looked at longest ago first: all without a message, late, or cancelled, and some of the others. */
  suspects(live: { has(jobId: string): boolean }, nowMs: number, max: number): Open[] {
    const found: Open[] = [];
    let others = 0;
    for (const job of this.#jobs.values()) {
      const late = job.deadlineMs !== null && nowMs >= job.deadlineMs;
      if (live.has(job.jobId) && !late && job.cancelledBy === null && ++others > OTHERS_MAX) continue;
      if (found.push(job) === max) break;
    }
    for (const job of found) {
      this.#jobs.delete(job.jobId);
      this.#jobs.set(job.jobId, job);
    }
    return found;
  }

  /** Those for a reader whose replica is of that kind, and that nobody cancelled. */
  takenBy(kind: (replica: string) => boolean): Open[] {
    const found: Open[] = [];
    for (const job of this.#jobs.values()) if (job.replica !== null && job.cancelledBy === null && kind(job.replica)) found.push(job);
    return found;
  }

  /** Asks the log for deadlines that are not known yet, some at a time. */
  async learn({ log }: Bus): Promise<void> {
    const unknown: Open[] = [];
    for (const job of this.#jobs.values()) if (job.deadlineMs === null && unknown.push(job) === LEARN_MAX) break;
    await atMost(LEARN_AT_ONCE, unknown, async (job) => {
      const request = await requestOf(log, job.jobId);
      if (request === null) this.drop(job.jobId);
      else job.deadlineMs = request.deadlineMs;
    });
  }

  #note(note: Noted): void {
    const { deadlineMs = null, replica = null } = readNote(note) ?? {};
    this.#add({ jobId: note.jobId, place: note.place, sinceMs: note.notedMs, deadlineMs, replica });
  }

  #add({ jobId, place = null, sinceMs, deadlineMs, replica = null }: Pick<Open, "jobId" | "sinceMs" | "deadlineMs"> & Partial<Open>): void {
    const known = this.#jobs.get(jobId);
    if (known !== undefined) {
      known.place ??= place;
      known.deadlineMs ??= deadlineMs;
      known.replica = replica ?? known.replica; // whoever noted it last may have been the first to submit it
      known.missingMs = null;
    } else if (this.#jobs.size < JOBS_MAX)
      this.#jobs.set(jobId, { jobId, place, sinceMs, deadlineMs, replica, cancelledBy: null, missingMs: null });
  }
}

async function all(page: (after: number) => Promise<readonly Noted[]>, after: number): Promise<Noted[]> {
  const found: Noted[] = [];
  for (;;) {
    const next = await page(found.at(-1)?.place ?? after);
    found.push(...next);
    if (next.length < PAGE) return found;
  }
}
