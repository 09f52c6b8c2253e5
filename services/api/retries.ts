import type { Bus, Noted } from "../shared/bus/contract.ts";
import { isTerminal } from "../shared/bus/events.ts";
import { quietMs } from "../shared/bus/standing.ts";
import { leftBy, readersOf } from "./beats.ts";
import { type Note, readNote } from "./jobs.ts";
import type { Replicas } from "./replicas.ts";

/** Jobs remembered, and those read of the index when this replica first sees a retry. */
const JOBS_MAX = 20_000;
/** Of one body: equal requests that are under way at once. */
const ALIKE_MAX = 64;
const PAGE = 1_000;

export interface RetriesDeps {
  readonly bus: Bus;
  readonly graceMs: number;
  readonly replica: string;
  readonly replicas: Pick<Replicas, "isGone">;
}

/** A job that was asked for with a body, and the replica that took it. */
interface Asked {
  readonly jobId: string;
  readonly replica: string;
}

/**
 * Finds the job that a request which is sent again asked for the first time: the tenant's latest with the same body that has lost its reader.
 * Each is found by one retry. Equal requests that are no retries are never one job (design 4.5).
 */
export class Retries {
  readonly #deps: RetriesDeps;
  /** By tenant and body: those of one in the order of the index, and bodies by their latest. */
  readonly #asked = new Map<string, readonly Asked[]>();
  #count = 0;
  #place: number | null = null;
  /** All who come at once hear the index once. */
  #hearing: Promise<void> | null = null;
  /** Jobs that a retry is looking at. */
  readonly #joining = new Set<string>();

  constructor(deps: RetriesDeps) {
    this.#deps = deps;
  }

  /** The job to join; whoever asked must read it soon, and is seen to read it from now on. Null: there is none, and the request is a new one. */
  async join(tenant: string, bodyHash: string): Promise<string | null> {
    this.#hearing ??= this.#hear().finally(() => {
      this.#hearing = null;
    });
    await this.#hearing;
    const known = new Map<string, Promise<boolean>>();
    const isGone = (replica: string): Promise<boolean> => {
      const gone = known.get(replica) ?? this.#deps.replicas.isGone(replica);
      known.set(replica, gone);
      return gone;
    };
    for (const asked of (this.#asked.get(keyOf(tenant, bodyHash)) ?? []).toReversed()) {
      if (this.#joining.has(asked.jobId)) continue;
      this.#joining.add(asked.jobId);
      try {
        if ((await this.#hasLostItsReader(asked, isGone)) && (await this.#isTaken(asked.jobId, isGone))) return asked.jobId;
      } finally {
        this.#joining.delete(asked.jobId);
      }
    }
    return null;
  }

  /** No replica that lives reads it, and the one that took it said that it lost its reader, or is gone. What cannot be read, or ended otherwise, is asked anew. */
  async #hasLostItsReader({ jobId, replica }: Asked, isGone: (replica: string) => Promise<boolean>): Promise<boolean> {
    const { bus, graceMs } = this.#deps;
    const last = await bus.log.lastStored(jobId);
    if (last === null || last.record === null) return false;
    const { event } = last.record;
    if (isTerminal(event)) {
      // A replica that is gone does not say whether its reader had the answer: after the grace he had it, or gave up.
      const isFresh = event.type === "finished" && quietMs(last.storedMs, await bus.log.nowMs(last.storedMs)) < graceMs;
      if (!isFresh) return false;
    }
    for (const reader of (await bus.registry.beats(readersOf(jobId))).keys()) if (!(await isGone(reader))) return false;
    return (await bus.registry.beats(leftBy(jobId))).size > 0 || isGone(replica);
  }

  /** Shows a reader here. Of two replicas that do so at once neither has it. */
  async #isTaken(jobId: string, isGone: (replica: string) => Promise<boolean>): Promise<boolean> {
    const { bus, replica } = this.#deps;
    await bus.registry.beat(readersOf(jobId), replica, "");
    const readers = [...(await bus.registry.beats(readersOf(jobId))).keys()];
    if ((await Promise.all(readers.map((reader) => reader === replica || isGone(reader)))).every(Boolean)) return true;
    await bus.registry.retire(readersOf(jobId), replica);
    return false;
  }

  async #hear(): Promise<void> {
    const { registry } = this.#deps.bus;
    if (this.#place === null) this.#take([...(await registry.jobs(JOBS_MAX))].reverse());
    for (;;) {
      const notes = await registry.notes(this.#place ?? 0, PAGE);
      this.#take(notes);
      if (notes.length < PAGE) return;
    }
  }

  #take(notes: readonly Noted[]): void {
    for (const note of notes) {
      const { tenant, body, replica } = readNote(note) ?? {};
      if (tenant !== undefined && body !== undefined && replica !== undefined)
        this.#remember(keyOf(tenant, body), { jobId: note.jobId, replica });
    }
    this.#place = notes.at(-1)?.place ?? this.#place ?? 0;
  }

  #remember(key: string, asked: Asked): void {
    const others = (this.#asked.get(key) ?? []).filter(({ jobId }) => jobId !== asked.jobId);
    this.#forget(key);
    const alike = [...others.slice(1 - ALIKE_MAX), asked];
    this.#asked.set(key, alike);
    this.#count += alike.length;
    for (const oldest of this.#asked.keys()) {
      if (this.#count <= JOBS_MAX) break;
      this.#forget(oldest);
    }
  }

  #forget(key: string): void {
    this.#count -= this.#asked.get(key)?.length ?? 0;
    this.#asked.delete(key);
  }
}

const keyOf = (tenant: Note["tenant"], bodyHash: string): string => `${tenant}\n${bodyHash}`;
