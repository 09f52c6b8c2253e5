import { type Lane, rank } from "../bus/events.ts";
import { NO_ROOM } from "../bus/reasons.ts";
import type { EngineInfo } from "../engine/engine.ts";
import type { Clock } from "../runtime/clock.ts";
import { Pause } from "../runtime/pause.ts";
import type { HeldJob } from "./held-job.ts";
import { Interrupted } from "./interrupted.ts";
import type { Leaver } from "./roster.ts";
import { Shelf } from "./shelf.ts";

/** How often whoever waits for room looks who might leave by now. */
const LOOK_MS = 250;
/** How long a job waits here before another worker may have it, at first; each time it comes again half as long more. */
const WAIT_MS = 10_000;
const WAIT_MS_MAX = 300_000;

/**
 * The KV that the sequences of a worker hold together, in bytes, so that it has a bound (I8). Pages that several share count once. Jobs that find no
 * room wait in line, by their lanes and who came first before others; nobody gets in past those before him. Whoever comes to an
 * empty worker is let in whatever he needs, and who is alone may grow.
 */
export class KvRoom {
  /** Segments that were loaded. */
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

  /** `mayLeave`: who may be put out now for work of a lane, the first before others. */
  clearedBy(mayLeave: (lane: Lane) => readonly Leaver[]): void {
    this.#mayLeave = mayLeave;
  }

  /** Held now, or promised to who is here. */
  get bytes(): number {
    let pages = this.shelf.size;
    for (const { own } of this.#holdings) pages += own;
    return this.#bytesOf(pages) + this.#holdings.size * this.#info.stateBytes;
  }

  /** Who waits first; null: nobody waits. */
  get first(): HeldJob | null {
    return this.#line[0]?.holding.job ?? null;
  }

  /** Whether jobs had to wait, and none came since that left room for another like it: then they come one by one, so that few wait here and not elsewhere. */
  get careful(): boolean {
    return this.#careful;
  }

  /** Resolves when a job has entered or begun to wait; after `ms`, or when `stop` aborts, in any case. One caller at a time. */
  decision(ms: number, stop: AbortSignal): Promise<void> {
    return this.#decision.wait(this.#clock, ms, stop);
  }

  /** Takes room for a sequence of `tokens` tokens. Throws Interrupted: crowded when it waited in vain, or what interrupted the job. */
  async enter(holding: Holding, tokens: number): Promise<void> {
    holding.job.check();
    holding.pages = this.#pagesOf(tokens);
    if (this.#placeOf(holding.job) > 0 || !this.#fits(holding)) return await this.#wait(holding);
    if (this.bytes + 2 * this.#needOf(holding) <= this.#bytesMax) this.#careful = false;
    this.#holdings.add(holding);
    this.#decision.end();
  }

  /** So many of a holding's pages are on the shelf now. False where that is fewer than before, and what it needs of its own instead finds no room. */
  share(holding: Holding, shared: number): boolean {
    holding.shared = shared;
    return this.#holdings.size < 2 || this.bytes <= this.#bytesMax;
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
      this.#holdings.add(holding); // before anybody else in line looks
    } finally {
      this.#line.splice(this.#line.indexOf(waiting), 1);
      this.#wakeAll();
    }
  }

  /** Has as many leave as `holding` needs, or nobody where all who may are not enough. Whether those on the way out are enough. */
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

  /** How many in line come before a job that comes now. */
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

/** What the sequence of one job has of the room: pages, of which `shared` are segments on the shelf. */
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
