import type { Sealed } from "../engine/engine.ts";
import type { Logger } from "../runtime/log.ts";
import type { SegmentStore } from "../segments/contract.ts";
import type { Address, Addresses } from "./addresses.ts";
import type { HeldJob } from "./held-job.ts";
import { Uploads } from "./uploads.ts";

export interface KeepingDeps {
  readonly store: SegmentStore;
  readonly log: Logger;
  readonly uploadsMax: number;
}

/**
 * Stores one job's values in the background while the engine computes. Every segment that is answered for, stored or
 * not, keeps the job's claim; a stored one resets the job's attempts (bus/standing.ts).
 */
export class Keeping {
  readonly #deps: KeepingDeps;
  readonly #job: HeldJob;
  readonly #addresses: Addresses;
  readonly #uploads: Uploads;
  /** Segments the store refused, by index. While the sequence is open, it holds the same memory. */
  readonly #refused = new Map<number, Sealed>();
  /** Whether the store took the last value it was offered. */
  #takes = false;

  constructor(deps: KeepingDeps, job: HeldJob, addresses: Addresses) {
    this.#deps = deps;
    this.#job = job;
    this.#addresses = addresses;
    this.#uploads = new Uploads(deps.uploadsMax, () => this.#again());
  }

  /**
   * Takes ownership of the payload. A refused segment is kept, and offered again once the store takes another value.
   */
  segment(sealed: Sealed): void {
    this.#uploads.add(() => this.#offer(sealed));
  }

  boundary(position: number, bytes: Uint8Array): void {
    const address = this.#addresses.boundary(position);
    this.#uploads.add(async () => void (await this.#put(address, bytes)));
  }

  /** Resolves once the store has caught up enough for the engine to go on. */
  caughtUp(): Promise<void> {
    return this.#uploads.caughtUp();
  }

  /** Resolves once everything so far is stored or given up. */
  settled(): Promise<void> {
    return this.#uploads.settled();
  }

  /** Releases what the store refused. Called once settled. Idempotent. */
  giveUp(): void {
    for (const { payload } of this.#refused.values()) payload.release();
    this.#refused.clear();
  }

  async #offer(sealed: Sealed): Promise<void> {
    const { index, payload } = sealed;
    const end = await this.#put(this.#addresses.segment(index), payload.bytes);
    if (end === "stored") {
      this.#job.stored++;
      this.#job.unstored.delete(index);
    } else this.#job.unstored.add(index);
    if (end === "refused") this.#refused.set(index, sealed);
    else payload.release();
    this.#job.pulse();
  }

  /** Another try for the first refused segment; null unless the store takes values and the job stays here. */
  #again(): (() => Promise<void>) | null {
    const sealed = this.#refused.get(Math.min(...this.#refused.keys()));
    if (sealed === undefined || !this.#takes || this.#job.signal.aborted || this.#job.leaving) return null;
    this.#refused.delete(sealed.index);
    return () => this.#offer(sealed);
  }

  /** Never rejects. */
  async #put({ key, head }: Address, bytes: Uint8Array): Promise<"stored" | "refused" | "failed"> {
    try {
      this.#takes = await this.#deps.store.put(key, head, bytes);
      return this.#takes ? "stored" : "refused";
    } catch (error) {
      this.#deps.log.warn({ err: error, kind: head.kind }, "a value was not stored: it is computed again when needed");
      return "failed";
    }
  }
}
