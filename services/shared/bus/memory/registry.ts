import type { Clock } from "../../runtime/clock.ts";
import type { KeptKey, Noted, Registry } from "../contract.ts";

interface RegistryLives {
  readonly beatMs: number;
  readonly keyMs: number;
  readonly markMs: number;
  readonly jobMs: number;
}

/** A registry that lives and dies with the process. */
export class MemoryRegistry implements Registry {
  readonly #beats: Shelf;
  readonly #keys: Shelf;
  readonly #marks: Shelf;
  readonly #jobs: Shelf;
  readonly #failures: Shelf;
  readonly #access: Shelf;
  #lowWater: number | null = null;
  readonly #cancelListeners = new Set<(jobId: string) => void>();

  constructor(lives: RegistryLives, clock: Clock) {
    this.#beats = new Shelf(lives.beatMs, clock);
    this.#keys = new Shelf(lives.keyMs, clock);
    this.#marks = new Shelf(lives.markMs, clock);
    this.#jobs = new Shelf(lives.jobMs, clock);
    this.#failures = new Shelf(lives.jobMs, clock);
    this.#access = new Shelf(Number.POSITIVE_INFINITY, clock);
  }

  async beat(role: string, id: string, value: string): Promise<void> {
    this.#beats.set(`${role}\n${id}`, value);
  }

  async beats(role: string): Promise<ReadonlyMap<string, string>> {
    const ofRole = this.#beats.entries().filter(([key]) => key.startsWith(`${role}\n`));
    return new Map(ofRole.map(([key, value]) => [key.slice(role.length + 1), value]));
  }

  async retire(role: string, id: string): Promise<void> {
    this.#beats.delete(`${role}\n${id}`);
  }

  async remember(key: string, value: string): Promise<string | null> {
    const earlier = this.#keys.get(key);
    if (earlier === null) this.#keys.set(key, value);
    return earlier;
  }

  async recall(key: string): Promise<string | null> {
    return this.#keys.get(key);
  }

  async markCancelled(jobId: string, by: string): Promise<void> {
    this.#marks.set(jobId, by);
    for (const callback of this.#cancelListeners) callback(jobId);
  }

  async cancelMark(jobId: string): Promise<string | null> {
    return this.#marks.get(jobId);
  }

  async onCancel(callback: (jobId: string) => void, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    this.#cancelListeners.add(callback);
    signal.addEventListener("abort", () => this.#cancelListeners.delete(callback), { once: true });
  }

  async cancelMarks(after: number, max: number): Promise<readonly Noted[]> {
    return this.#marks.behind(after, max);
  }

  async noteJob(jobId: string, text: string): Promise<void> {
    this.#jobs.set(jobId, text);
  }

  async notes(after: number, max: number): Promise<readonly Noted[]> {
    return this.#jobs.behind(after, max);
  }

  async indexEnd(): Promise<number> {
    return this.#jobs.end;
  }

  async noteFailure(jobId: string, text: string): Promise<void> {
    this.#failures.set(jobId, text);
  }

  async failures(limit: number): Promise<readonly Noted[]> {
    return this.#failures.latest(limit);
  }

  async lowWater(): Promise<number | null> {
    return this.#lowWater;
  }

  async raiseLowWater(place: number): Promise<void> {
    this.#lowWater = place;
  }

  async forget(jobId: string): Promise<void> {
    this.#jobs.delete(jobId);
    this.#marks.delete(jobId);
    this.#failures.delete(jobId);
  }

  async jobs(limit: number): Promise<readonly Noted[]> {
    return this.#jobs.latest(limit);
  }

  async keepKey(id: string, text: string): Promise<void> {
    this.#access.set(id, text);
  }

  async keptKeys(after: number, max: number): Promise<readonly KeptKey[]> {
    return this.#access.behind(after, max).map(({ place, jobId: id, text }) => ({ place, id, text }));
  }
}

interface Kept {
  readonly value: string;
  readonly place: number;
  readonly setMs: number;
  readonly notedMs: number;
}

/** Values with one life time, oldest first. */
class Shelf {
  readonly #lifeMs: number;
  readonly #clock: Clock;
  readonly #values = new Map<string, Kept>();
  #places = 0;

  constructor(lifeMs: number, clock: Clock) {
    this.#lifeMs = lifeMs;
    this.#clock = clock;
  }

  /** The highest place there ever was. */
  get end(): number {
    return this.#places;
  }

  set(key: string, value: string): void {
    this.#forget();
    this.#values.delete(key);
    this.#values.set(key, { value, place: ++this.#places, setMs: this.#clock.monotonicMs(), notedMs: this.#clock.nowMs() });
  }

  get(key: string): string | null {
    this.#forget();
    return this.#values.get(key)?.value ?? null;
  }

  delete(key: string): void {
    this.#values.delete(key);
  }

  entries(): Array<readonly [string, string]> {
    this.#forget();
    return [...this.#values].map(([key, { value }]) => [key, value] as const);
  }

  behind(after: number, max: number): Noted[] {
    this.#forget();
    const found: Noted[] = [];
    for (const [jobId, { place, value: text, notedMs }] of this.#values) {
      if (place > after && found.push({ place, jobId, text, notedMs }) === max) break;
    }
    return found;
  }

  latest(limit: number): Noted[] {
    return limit === 0 ? [] : this.behind(0, Number.POSITIVE_INFINITY).slice(-limit).reverse();
  }

  #forget(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const [key, { setMs }] of this.#values) {
      if (nowMs - setMs < this.#lifeMs) break;
      this.#values.delete(key);
    }
  }
}
