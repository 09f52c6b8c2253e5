import type { Bus } from "../../shared/bus/contract.ts";
import { quietMs } from "../../shared/bus/standing.ts";
import { atMost } from "../../shared/runtime/at-most.ts";
import { deleteJob, hasEnded } from "../jobs/jobs.ts";

/** Notes looked at in one pass, and jobs purged at once. */
const NOTES = 500;
const PURGES_AT_ONCE = 8;
/** Between two walks along the index: a job that ended late is met again by the next. */
const ROUND_MS = 60_000;

/** Purges ended jobs, oldest first. The index is its list of work: what is purged has no note any more. */
export class Retention {
  readonly #bus: Bus;
  readonly #retentionMs: number;
  readonly #isOpen: (jobId: string) => boolean;
  #place = 0;
  #roundMs = Number.NEGATIVE_INFINITY;

  constructor(bus: Bus, retentionMs: number, isOpen: (jobId: string) => boolean) {
    this.#bus = bus;
    this.#retentionMs = retentionMs;
    this.#isOpen = isOpen;
  }

  /** Resolves to whether more is to be done at once. */
  async pass(nowMs: number): Promise<boolean> {
    if (quietMs(this.#roundMs, nowMs) < Math.min(ROUND_MS, this.#retentionMs)) return false;
    const keptFromMs = nowMs - this.#retentionMs;
    const notes = await this.#bus.registry.notes(this.#place, NOTES);
    const old = notes.filter(({ notedMs }) => notedMs <= keptFromMs);
    const ended = old.filter(({ jobId }) => !this.#isOpen(jobId));
    await atMost(PURGES_AT_ONCE, ended, ({ jobId }) => this.#purge(jobId, keptFromMs));
    const more = old.length === NOTES;
    this.#place = more ? old.at(-1)!.place : 0;
    if (!more) this.#roundMs = nowMs;
    return more;
  }

  async #purge(jobId: string, keptFromMs: number): Promise<void> {
    const last = await this.#bus.log.lastStored(jobId);
    if (last === null || (hasEnded(last) && last.storedMs <= keptFromMs)) await deleteJob(this.#bus, jobId);
  }
}
