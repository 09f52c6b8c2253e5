import type { Lane } from "../bus/events.ts";
import { Pause } from "../bus/pause.ts";
import { NO_ROOM } from "../bus/reasons.ts";
import type { EngineInfo } from "../engine/engine.ts";
import type { Clock } from "../runtime/clock.ts";
import type { HeldJob } from "./held-job.ts";
import { Interrupted } from "./interrupted.ts";
import { Shelf } from "./shelf.ts";

/** How long a worker waits for what a job wanted before it asks the queue again: another worker may have had room for it. */
const OWED_MS = 10_000;
/** How often a job that waits for another to leave looks. */
const LOOK_MS = 250;

/**
 * The KV that the sequences of a worker hold together, in bytes, so that it has a bound (I8). Pages that several share count once. Whoever comes
 * first to an empty worker is let in whatever he needs, and who is alone may grow: every job gets done somewhere.
 */
export class KvRoom {
  /** Segments that were loaded. */
  readonly shelf = new Shelf();
  readonly #info: EngineInfo;
  readonly #bytesMax: number;
  readonly #clock: Clock;
  readonly #holdings = new Set<Holding>();
  readonly #waiting = new Set<Pause>();
  #makeWay: () => boolean = () => false;
  #onEntered: () => void = () => {};
  #owed: { readonly bytes: number; readonly lane: Lane; readonly untilMs: number } | null = null;

  constructor(info: EngineInfo, bytesMax: number, clock: Clock) {
    this.#info = info;
    this.#bytesMax = bytesMax;
    this.#clock = clock;
  }

  /** `makeWay`: has somebody leave for interactive work, if anybody may; whether somebody is on the way out then. */
  onCrowded(makeWay: () => boolean): void {
    this.#makeWay = makeWay;
  }

  /** Held now, or promised to who is here. */
  get bytes(): number {
    let pages = this.shelf.size;
    for (const { own } of this.#holdings) pages += own;
    return this.#bytesOf(pages) + this.#holdings.size * this.#info.stateBytes;
  }

  /** Whether jobs found no room lately: the next ones come one by one, so that those that will find none are not claimed for it. */
  get tight(): boolean {
    return this.#owed !== null && this.#clock.monotonicMs() < this.#owed.untilMs;
  }

  /** The lane of a job that found no room and has not got it yet: what comes after it must not take what it waits for. Null: nobody waits. */
  get owedTo(): Lane | null {
    if (this.#owed === null || !this.tight || this.#holdings.size === 0) return null;
    return this.bytes + this.#owed.bytes > this.#bytesMax ? this.#owed.lane : null;
  }

  /**
   * Room for a sequence of `tokens` tokens, of whose segments the first `holding.shared` are on the shelf for it. Waits while somebody makes way. Throws
   * Interrupted (crowded) where there is none now, and what interrupted the job.
   */
  async enter(holding: Holding, tokens: number, job: HeldJob): Promise<void> {
    const { lane } = job.request;
    holding.pages = this.#pagesOf(tokens);
    const bytes = this.#bytesOf(holding.own) + this.#info.stateBytes;
    while (this.#holdings.size > 0 && this.bytes + bytes > this.#bytesMax) {
      if (lane === "batch" || !this.#makeWay()) {
        this.#owe(bytes, lane);
        throw new Interrupted("crowded", NO_ROOM);
      }
      await this.#left(job.signal);
      job.check();
    }
    this.#holdings.add(holding);
    if (this.#owed !== null && this.bytes + this.#owed.bytes <= this.#bytesMax) this.#owed = null;
    this.#onEntered();
  }

  /** Resolves when the next sequence has entered. One caller at a time. */
  entered(): Promise<void> {
    return new Promise((resolve) => {
      this.#onEntered = resolve;
    });
  }

  /** Whether a holding may have `tokens` tokens. It has room for them from then on. */
  grow(holding: Holding, tokens: number): boolean {
    const pages = this.#pagesOf(tokens);
    const more = this.#bytesOf(Math.max(0, pages - holding.pages));
    if (more > 0 && this.#holdings.size > 1 && this.bytes + more > this.#bytesMax) return false;
    holding.pages = Math.max(pages, holding.pages);
    return true;
  }

  /** Idempotent. */
  leave(holding: Holding): void {
    if (this.#holdings.delete(holding)) for (const pause of this.#waiting) pause.end();
  }

  /** First come, first served; but interactive work before a batch's. */
  #owe(bytes: number, lane: Lane): void {
    const owedTo = this.owedTo;
    if (owedTo === "interactive" || owedTo === lane) return;
    this.#owed = { bytes, lane, untilMs: this.#clock.monotonicMs() + OWED_MS };
  }

  /** Somebody left, or it is time to look again. */
  async #left(signal: AbortSignal): Promise<void> {
    const pause = new Pause();
    this.#waiting.add(pause);
    await pause.wait(this.#clock, LOOK_MS, signal);
    this.#waiting.delete(pause);
  }

  #pagesOf(tokens: number): number {
    return Math.ceil(tokens / this.#info.segmentTokens);
  }

  #bytesOf(pages: number): number {
    return pages * this.#info.segmentBytes;
  }
}

/** What one sequence has of the room: pages, of which `shared` are segments on the shelf. */
export class Holding {
  pages = 0;
  shared = 0;

  get own(): number {
    return Math.max(0, this.pages - this.shared);
  }
}
