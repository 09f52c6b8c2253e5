import { beatWhile } from "../shared/bus/beat.ts";
import type { Registry } from "../shared/bus/contract.ts";
import { ABSENT_BEATS, REPLICAS, type Shown } from "./beats.ts";

/** What one that stops leaves behind, and what those of an older version say that live. */
const GONE = "gone";
const UNCOUNTED = "";
/** So long a replica is waited for until it shows itself again or counts as gone: its beat lives for five, and more is the record's delay. */
const BEATS_MAX = 10;
const LOOKS_A_BEAT = 2;

type Beats = ReadonlyMap<string, string>;

/** The replicas of the API, as they show themselves. */
export class Replicas {
  readonly #deps: Omit<Shown, "graceMs">;
  /** Looks that are under way: all who ask at once share them. */
  #now: Promise<Beats> | null = null;
  #soon: Promise<Beats> | null = null;

  constructor(deps: Omit<Shown, "graceMs">) {
    this.#deps = deps;
  }

  /** Shows this one until `stop` aborts, and then that it is gone: whoever read here is waited for by nobody. */
  async show(stop: AbortSignal): Promise<void> {
    const { bus, clock, beatMs, replica } = this.#deps;
    let beats = 0;
    const counted = () => String(++beats); // so that one that still stands is told from one that comes
    await beatWhile({ registry: bus.registry, clock, beatMs }, REPLICAS, replica, counted, stop).catch(() => {});
    await bus.registry.beat(REPLICAS, replica, GONE).catch(() => {}); // its last beat ends by itself
  }

  /** Waits until that is known: a replica lives that shows itself once more, and is gone that says so, or is not seen for a while. */
  async isGone(replica: string): Promise<boolean> {
    const { clock, beatMs } = this.#deps;
    if (replica === this.#deps.replica) return false;
    const startMs = clock.monotonicMs();
    let beats = await this.#look();
    let seenMs = startMs;
    for (const first = beats.get(replica); ; beats = await this.#lookSoon()) {
      const [beat, nowMs] = [beats.get(replica), clock.monotonicMs()];
      if (beat === GONE) return true;
      if (beat !== undefined && (beat === UNCOUNTED || beat !== first)) return false;
      if (beat !== undefined) seenMs = nowMs;
      else if (nowMs - seenMs >= ABSENT_BEATS * beatMs) return true;
      if (nowMs - startMs > BEATS_MAX * beatMs) return false;
    }
  }

  #look(): Promise<Beats> {
    this.#now ??= this.#deps.bus.registry.beats(REPLICAS).finally(() => {
      this.#now = null;
    });
    return this.#now;
  }

  #lookSoon(): Promise<Beats> {
    const { clock, beatMs } = this.#deps;
    this.#soon ??= clock.sleep(beatMs / LOOKS_A_BEAT).then(() => {
      this.#soon = null;
      return this.#look();
    });
    return this.#soon;
  }
}

/** Those that show themselves right now, which is nobody right after the record's server was started again. */
export async function replicasSeen(registry: Registry): Promise<ReadonlySet<string>> {
  const beats = await registry.beats(REPLICAS);
  return new Set([...beats].flatMap(([replica, beat]) => (beat === GONE ? [] : [replica])));
}
