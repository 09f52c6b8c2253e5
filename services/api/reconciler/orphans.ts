import type { Bus } from "../../shared/bus/contract.ts";
import { quietMs } from "../../shared/bus/standing.ts";
import { atMost } from "../../shared/runtime/at-most.ts";
import { ABSENT_BEATS, readersOf } from "../beats.ts";
import { replicasSeen } from "../replicas.ts";
import type { Open, OpenJobs } from "./open-jobs.ts";

/** Jobs whose readers are asked for in one pass, and of these at once. */
const LOOKS_MAX = 1_000;
const LOOKS_AT_ONCE = 32;

/** Since when nobody is known to read a job, and since when its readers were asked for in vain, both by the record's clock. */
interface Left {
  sinceMs: number;
  unreadMs: number | null;
}

/**
 * Jobs of replicas that are gone: who took a request cancels it when its readers have left (`Readers`), and somebody must do so in his place
 * (design 4.6). Whoever read there has the grace to come back, on any replica.
 */
export class Orphans {
  readonly #bus: Bus;
  readonly #graceMs: number;
  readonly #absentMs: number;
  readonly #left = new Map<string, Left>();

  constructor(bus: Bus, graceMs: number, beatMs: number) {
    this.#bus = bus;
    this.#graceMs = Math.max(graceMs, ABSENT_BEATS * beatMs);
    this.#absentMs = ABSENT_BEATS * beatMs;
  }

  /** Those whom nobody came back for. */
  async pass(jobs: OpenJobs, nowMs: number): Promise<readonly Open[]> {
    const replicas = await replicasSeen(this.#bus.registry);
    const orphans = jobs.takenBy((replica) => !replicas.has(replica));
    const due = orphans.filter(({ jobId }) => this.#isDue(jobId, nowMs)).slice(0, LOOKS_MAX);
    const unread: Open[] = [];
    await atMost(LOOKS_AT_ONCE, due, async (job) => {
      if (await this.#isUnread(job.jobId, nowMs)) unread.push(job);
    });
    const known = new Set(orphans.map(({ jobId }) => jobId));
    for (const jobId of this.#left.keys()) if (!known.has(jobId)) this.#left.delete(jobId);
    return unread;
  }

  #isDue(jobId: string, nowMs: number): boolean {
    const left = this.#left.get(jobId);
    if (left === undefined) this.#left.set(jobId, { sinceMs: nowMs, unreadMs: null });
    return left !== undefined && quietMs(left.sinceMs, nowMs) >= this.#graceMs;
  }

  /** Asked twice, some beats apart. Where somebody reads it now, his grace begins. */
  async #isUnread(jobId: string, nowMs: number): Promise<boolean> {
    const left = this.#left.get(jobId)!;
    if ((await this.#bus.registry.beats(readersOf(jobId))).size > 0) {
      this.#left.set(jobId, { sinceMs: nowMs, unreadMs: null });
      return false;
    }
    left.unreadMs ??= nowMs;
    return quietMs(left.unreadMs, nowMs) >= this.#absentMs;
  }
}
