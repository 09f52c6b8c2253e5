import type { Bus } from "../../shared/bus/contract.ts";
import type { Phase } from "../../shared/bus/events.ts";
import type { Clock } from "../../shared/runtime/clock.ts";
import { parsed } from "../../shared/runtime/json.ts";

/** Beats are read again after this long. */
const LIFE_MS = 500;
/** What a worker is taken to do until it has shown what it can. */
const TOKENS_PER_SECOND_ASSUMED = { prefill: 200, decode: 5 } as const;

/** What the workers of a phase can do together. */
export interface Capacity {
  readonly workers: number;
  /** Jobs that they hold at once. */
  readonly places: number;
  /** Whether any of them has worked yet. */
  readonly measured: boolean;
  readonly tokensPerSecond: number;
  readonly tokensPerJobSecond: number;
  /** What a worker gets done until a job gives up its place; infinite where jobs keep it. */
  readonly turnTokens: number;
  /** And without a break. */
  readonly chunkTokens: number;
}

/** What a worker's beat says of it (services/shared/worker/station.ts). */
interface Beat {
  readonly model: string;
  readonly slots: number;
  readonly tokensPerSecond: number | null;
  readonly tokensPerJobSecond: number | null;
  /** Of prefill, while places change hands there; from a version on that tells it. */
  readonly turnMs?: number;
  readonly chunkMs?: number;
}

/** The speed of the cluster, from the beats of its workers. */
export class Workers {
  readonly #bus: Bus;
  readonly #clock: Clock;
  readonly #model: string;
  readonly #read = new Map<Phase, { readonly capacity: Promise<Capacity>; readonly untilMs: number }>();

  constructor(bus: Bus, clock: Clock, model: string) {
    this.#bus = bus;
    this.#clock = clock;
    this.#model = model;
  }

  capacity(phase: Phase): Promise<Capacity> {
    const nowMs = this.#clock.monotonicMs();
    const read = this.#read.get(phase);
    if (read !== undefined && nowMs < read.untilMs) return read.capacity;
    const capacity = this.#measure(phase);
    this.#read.set(phase, { capacity, untilMs: nowMs + LIFE_MS });
    return capacity;
  }

  async #measure(phase: Phase): Promise<Capacity> {
    const beats = [...(await this.#bus.registry.beats(phase)).values()].map((beat) => parsed<Beat>(beat));
    const own = beats.filter((beat) => beat !== null && beat.model === this.#model) as Beat[];
    const assumed = TOKENS_PER_SECOND_ASSUMED[phase];
    const perJob = mean(own.map((beat) => beat.tokensPerJobSecond)) ?? assumed;
    // A batch that is not full could do more: each further sequence about as much as those that run.
    const speeds = own.map((beat) =>
      phase === "prefill" ? beat.tokensPerSecond : beat.tokensPerJobSecond && beat.tokensPerJobSecond * beat.slots,
    );
    const measured = mean(speeds);
    const each = measured ?? assumed;
    const tokensIn = (msOf: (beat: Beat) => number | undefined) => {
      const ms = Math.max(0, ...own.map((beat) => msOf(beat) ?? Number.POSITIVE_INFINITY));
      return Number.isFinite(ms) ? (each * ms) / 1_000 : ms;
    };
    return {
      workers: own.length,
      places: own.reduce((sum, { slots }) => sum + slots, 0),
      measured: measured !== null,
      tokensPerSecond: own.length * each,
      tokensPerJobSecond: perJob,
      turnTokens: tokensIn(({ turnMs }) => turnMs),
      chunkTokens: tokensIn(({ chunkMs }) => chunkMs),
    };
  }
}

/** Of those that are known; null if none is. */
function mean(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0) / known.length;
}
