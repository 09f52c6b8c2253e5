import type { Bus, Noted } from "../shared/bus/contract.ts";
import { isTerminal } from "../shared/bus/events.ts";
import { leftBy, REPLICAS, readersOf } from "./beats.ts";
import { type Note, readNote } from "./jobs.ts";

/** Jobs remembered, and those read of the index when this replica first sees a retry. */
const JOBS_MAX = 20_000;
const PAGE = 1_000;

/** A job that was asked for with a body, and the replica that took it. */
interface Asked {
  readonly jobId: string;
  readonly replica: string;
}

/**
 * Finds the job that a request which is sent again asked for the first time: the tenant's latest with the same body, and only if it has lost
 * its reader. Equal requests that are no retries are never one job (design 4.5).
 */
export class Retries {
  readonly #bus: Bus;
  /** By tenant and body, in the order of the index. */
  readonly #asked = new Map<string, Asked>();
  #place: number | null = null;

  constructor(bus: Bus) {
    this.#bus = bus;
  }

  async lost(tenant: string, bodyHash: string): Promise<string | null> {
    await this.#hear();
    const asked = this.#asked.get(keyOf(tenant, bodyHash));
    if (asked === undefined || !(await this.#hasLostItsReader(asked))) return null;
    const record = (await this.#bus.log.lastStored(asked.jobId))?.record ?? null; // what cannot be read is asked anew
    const over = record === null || (isTerminal(record.event) && record.event.type !== "finished");
    return over ? null : asked.jobId;
  }

  /** Nobody reads it now, and whoever did said that it lost its reader, or is gone himself. */
  async #hasLostItsReader({ jobId, replica }: Asked): Promise<boolean> {
    const { registry } = this.#bus;
    if ((await registry.beats(readersOf(jobId))).size > 0) return false;
    return (await registry.beats(leftBy(jobId))).size > 0 || !(await registry.beats(REPLICAS)).has(replica);
  }

  async #hear(): Promise<void> {
    const { registry } = this.#bus;
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
    this.#asked.delete(key);
    this.#asked.set(key, asked);
    const [oldest] = this.#asked.keys();
    if (this.#asked.size > JOBS_MAX && oldest !== undefined) this.#asked.delete(oldest);
  }
}

const keyOf = (tenant: Note["tenant"], bodyHash: string): string => `${tenant}\n${bodyHash}`;
