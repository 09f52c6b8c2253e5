import { type Lane, rank } from "../bus/events.ts";
import { NO_ROOM } from "../bus/reasons.ts";
import type { EngineInfo } from "../engine/engine.ts";
import type { Clock } from "../runtime/clock.ts";
import { Pause } from "../runtime/pause.ts";
import type { HeldJob } from "./held-job.ts";
import { Interrupted } from "./interrupted.ts";
import type { Leaver } from "./roster.ts";
import { Shelf } from "./shelf.ts";

/** How often a job that waits for room checks which jobs may leave by now. */
const LOOK_MS = 250;
/**
 * How long a job waits here before another worker may have it, on its first delivery; each further delivery waits half
 * as long again.
 */
const WAIT_MS = 10_000;
const WAIT_MS_MAX = 300_000;

/**
 * Bounds the KV that a worker's sequences hold together, in bytes (I8). Pages that several sequences share count once.
 * Jobs that find no room wait in line, by lane, then by arrival; no job enters before those ahead of it. An empty
 * worker admits a job whatever it needs, and a job that is alone may grow.
 */
export class KvRoom {
  /** Loaded segments. */
  readonly shelf = new Shelf();
  readonly #info: EngineInfo;
  readonly #bytesMax: number;
  readonly #clock: Clock;
  readonly #holdings = new Set<Holding>();
  readonly #line: Waiting[] = [];
  readonly #decision = new Pause();
  #careful = false;
  #mayLeave: (lane: Lane) => readonly Leaver[] = () => [];

  constructor(info: EngineInfo, bytesMax: number, clock: Clock) {
    this.#info = info;
    this.#bytesMax = bytesMax;
    this.#clock = clock;
  }

  /** `mayLeave`: the jobs that may be put out now for work of a lane, in order. */
  clearedBy(mayLeave: (lane: Lane) => readonly Leaver[]): void {
    this.#mayLeave = mayLeave;
  }

  /** Bytes held now, or promised to jobs in the room. */
  get bytes(): number {
    let pages = this.shelf.size;
    for (const { own } of this.#holdings) pages += own;
    return this.#bytesOf(pages) + this.#holdings.size * this.#info.stateBytes;
  }

  /** The first job in line; null if none waits. */
  get first(): HeldJob | null {
    return this.#line[0]?.holding.job ?? null;
  }

  /**
   * Whether jobs had to wait, and none since has left room for another of its size. Jobs are then pulled one by one, so
   * that few wait here while other workers have room.
   */
  get careful(): boolean {
    return this.#careful;
  }

  /**
   * Resolves when a job enters or begins to wait, and at the latest after `ms` or when `stop` aborts. One caller at a
   * time.
   */
  decision(ms: number, stop: AbortSignal): Promise<void> {
    return this.#decision.wait(this.#clock, ms, stop);
  }

  /**
   * Takes room for a sequence of `tokens` tokens. Throws Interrupted: crowded if it waited in vain, or what interrupted
   * the job.
   */
  async enter(holding: Holding, tokens: number): Promise<void> {
    holding.job.check();
    holding.pages = this.#pagesOf(tokens);
    if (this.#placeOf(holding.job) > 0 || !this.#fits(holding)) return await this.#wait(holding);
    if (this.bytes + 2 * this.#needOf(holding) <= this.#bytesMax) this.#careful = false;
    this.#holdings.add(holding);
    this.#decision.end();
  }

  /**
   * Sets how many of a holding's pages are on the shelf. False if they are fewer than before and there is no room for
   * the pages it now needs of its own.
   */
  share(holding: Holding, shared: number): boolean {
    holding.shared = shared;
    return this.#holdings.size < 2 || this.bytes <= this.#bytesMax;
  }

  /** Takes room for a holding of `tokens` tokens; false if there is none. */
  grow(holding: Holding, tokens: number): boolean {
    const pages = this.#pagesOf(tokens);
    const more = this.#bytesOf(Math.max(0, pages - holding.pages));
    if (more > 0 && this.#holdings.size > 1 && this.bytes + more > this.#bytesMax) return false;
    holding.pages = Math.max(pages, holding.pages);
    return true;
  }

  /** Idempotent. */
  leave(holding: Holding): void {
    if (this.#holdings.delete(holding)) this.#wakeAll();
  }

  async #wait(holding: Holding): Promise<void> {
    const { job } = holding;
    const waiting = { holding, pause: new Pause() };
    this.#line.splice(this.#placeOf(job), 0, waiting);
    this.#careful = true;
    this.#decision.end();
    const untilMs = this.#clock.monotonicMs() + Math.min(WAIT_MS * 1.5 ** (job.message.deliveries - 1), WAIT_MS_MAX);
    try {
      while (this.#line[0] !== waiting || !this.#fits(holding)) {
        const isCleared = this.#line[0] === waiting && job.request.lane !== "batch" && this.#clear(holding);
        if (!isCleared && this.#clock.monotonicMs() >= untilMs) throw crowded();
        await waiting.pause.wait(this.#clock, LOOK_MS, job.signal);
        job.check();
      }
      this.#holdings.add(holding); // before the next in line checks
    } finally {
      this.#line.splice(this.#line.indexOf(waiting), 1);
      this.#wakeAll();
    }
  }

  /**
   * Asks as many jobs to leave as `holding` needs, or none if all who may leave are not enough. Returns whether those
   * on their way out are enough.
   */
  #clear(holding: Holding): boolean {
    let missing = this.bytes + this.#needOf(holding) - this.#bytesMax;
    const staying = new Map([...this.#holdings].map((each) => [each.job, each]));
    const goes = (each: Holding) => {
      staying.delete(each.job);
      missing -= this.#needOf(each);
    };
    for (const each of this.#holdings) if (each.job.leaving) goes(each);
    const leavers: Leaver[] = [];
    for (const leaver of this.#mayLeave(holding.job.request.lane)) {
      const held = staying.get(leaver.job);
      if (held === undefined || missing <= 0) continue;
      leavers.push(leaver);
      goes(held);
    }
    if (missing > 0 && staying.size > 0) return false;
    for (const { job, reason } of leavers) job.handBack(reason);
    return true;
  }

  /** How many jobs in line go before one that arrives now. */
  #placeOf(job: HeldJob): number {
    const behind = this.#line.findIndex(({ holding }) => rank(holding.job.request.lane) > rank(job.request.lane));
    return behind < 0 ? this.#line.length : behind;
  }

  #fits(holding: Holding): boolean {
    return this.#holdings.size === 0 || this.bytes + this.#needOf(holding) <= this.#bytesMax;
  }

  #wakeAll(): void {
    for (const { pause } of this.#line) pause.end();
  }

  #needOf({ own }: Holding): number {
    return this.#bytesOf(own) + this.#info.stateBytes;
  }

  #pagesOf(tokens: number): number {
    return Math.ceil(tokens / this.#info.segmentTokens);
  }

  #bytesOf(pages: number): number {
    return pages * this.#info.segmentBytes;
  }
}

interface Waiting {
  readonly holding: Holding;
  readonly pause: Pause;
}

export const crowded = (): Interrupted => new Interrupted("crowded", NO_ROOM);

/** One job's share of the room, in pages, of which `shared` are segments on the shelf. */
export class Holding {
  readonly job: HeldJob;
  pages = 0;
  shared = 0;

  constructor(job: HeldJob) {
    this.job = job;
  }

  get own(): number {
    return Math.max(0, this.pages - this.shared);
  }
}
