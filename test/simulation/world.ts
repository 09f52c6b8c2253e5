import type { Journal } from "../../services/shared/bus/journal.ts";
import { MemoryDocuments } from "../../services/shared/bus/memory/documents.ts";
import { MemoryJournal } from "../../services/shared/bus/memory/journal.ts";
import { MemoryPayloads } from "../../services/shared/bus/memory/payloads.ts";
import { MemoryQueue } from "../../services/shared/bus/memory/queue.ts";
import { MemoryRegistry } from "../../services/shared/bus/memory/registry.ts";
import type { Clock } from "../../services/shared/runtime/clock.ts";
import type { MemoryStore } from "../../services/shared/segments/memory-store.ts";
import type { Dice } from "../support/dice.ts";
import { overriding } from "../support/overriding.ts";
import type { Roughness } from "../support/road.ts";
import { VirtualClock } from "../support/virtual-clock.ts";
import { memoryStore } from "../support/workers.ts";
import type { Bug } from "./bug.ts";
import { Judge } from "./judge.ts";
import type { Trace } from "./trace.ts";
import type { Weather } from "./weather.ts";

export const CLAIM_MS = 4_000;
export const BEAT_MS = 1_500;
export const ACK_WAIT_MS = 4_400;
export const DEDUPE_MS = 120_000;
export const ATTEMPTS_MAX = 5;

const AGE_MS = 1e9;

/** What all processes share: time, the record's server, the store's server, and the weather. */
export class World {
  readonly clock = new VirtualClock();
  readonly dice: Dice;
  readonly weather: Weather;
  readonly bug: Bug;
  readonly judge: Judge;
  /** Never aborts. It belongs to this run, so that what waits on it goes with it. */
  readonly never = new AbortController().signal;
  /** The record's clock, whose wall time may be set. */
  readonly recordClock = overriding<Clock>(this.clock, { nowMs: () => this.clock.nowMs() + this.#setByMs() });
  readonly journal: Journal = new MemoryJournal({ bytesMax: 1e9, ageMsMax: AGE_MS, dedupeMs: DEDUPE_MS }, this.recordClock);
  readonly queue: MemoryQueue;
  /** Phase and job of the messages that the queue gives to no worker. */
  readonly kept = new Set<string>();
  readonly registry = new MemoryRegistry({ beatMs: 5_000, keyMs: AGE_MS, jobMs: AGE_MS }, this.recordClock);
  readonly payloads = new MemoryPayloads({ bytesMax: 1e8, totalBytesMax: 1e9, ageMsMax: AGE_MS }, this.clock);
  readonly files = new MemoryPayloads({ bytesMax: 1e8, totalBytesMax: 1e9, ageMsMax: AGE_MS }, this.clock);
  readonly documents = new MemoryDocuments({ bytesMax: 1e9, endsBytesMax: 1e9, ageMsMax: AGE_MS, endsAgeMsMax: AGE_MS }, this.recordClock);
  readonly store: MemoryStore = memoryStore(this.clock);
  readonly #trace: Trace;
  #calm = false;

  constructor(dice: Dice, weather: Weather, trace: Trace, bug: Bug) {
    this.dice = dice;
    this.weather = weather;
    this.bug = bug;
    this.#trace = trace;
    const { messagesMax } = weather;
    this.queue = new MemoryQueue({ ackWaitMs: ACK_WAIT_MS, dedupeMs: DEDUPE_MS, messagesMax }, this.clock, this.never);
    this.judge = new Judge(
      () => this.recordClock.nowMs(),
      (what) => this.note("judge", what),
    );
    for (const { what, atMs, forMs } of weather.outages) {
      if (what === "erased") this.clock.after(atMs, () => void this.store.close());
      this.note("weather", `${what} ${atMs.toFixed(0)} for ${forMs}`);
    }
  }

  get stormy(): boolean {
    return !this.#calm;
  }

  calm(): void {
    this.#calm = true;
    this.note("weather", "calm");
  }

  note(who: string, what: string): void {
    this.#trace.note(this.clock.monotonicMs(), who, what);
  }

  /** How rough the way to the record, or to the store, is now. */
  roughness(of: "record" | "store"): Roughness {
    const usual = this.weather[of];
    if (this.#calm) return { ...usual, ...smooth };
    return this.#isAway(of) ? { ...usual, lostRequests: 1, lostMessages: 1 } : usual;
  }

  #setByMs(): number {
    const { clockSet } = this.weather;
    return clockSet !== null && this.clock.monotonicMs() >= clockSet.atMs ? clockSet.byMs : 0;
  }

  #isAway(of: "record" | "store"): boolean {
    const nowMs = this.clock.monotonicMs();
    return this.weather.outages.some(({ what, atMs, forMs }) => what === of && nowMs >= atMs && nowMs < atMs + forMs);
  }
}

const smooth = { lostRequests: 0, lostAnswers: 0, lostMessages: 0, doubledMessages: 0 };
