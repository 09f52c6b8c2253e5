import type { Clock } from "../../runtime/clock.ts";
import type { KeptKey, Noted, Registry } from "../contract.ts";
import { Shelf } from "./shelf.ts";

interface RegistryLives {
  readonly beatMs: number;
  readonly keyMs: number;
  /** Of all that is kept about a job. */
  readonly jobMs: number;
}

/** A registry that lives and dies with the process. */
export class MemoryRegistry implements Registry {
  readonly #beats: Shelf<string>;
  readonly #keys: Shelf<string>;
  readonly #marks: Shelf<string>;
  readonly #jobs: Shelf<string>;
  readonly #failures: Shelf<string>;
  readonly #access: Shelf<string>;
  #lowWater: number | null = null;
  readonly #cancelListeners = new Set<(jobId: string) => void>();

  constructor(lives: RegistryLives, clock: Clock) {
    this.#beats = new Shelf(lives.beatMs, clock);
    this.#keys = new Shelf(lives.keyMs, clock);
    this.#marks = new Shelf(lives.jobMs, clock);
    this.#jobs = new Shelf(lives.jobMs, clock);
    this.#failures = new Shelf(lives.jobMs, clock);
    this.#access = new Shelf(Number.POSITIVE_INFINITY, clock);
  }

  async beat(role: string, id: string, value: string): Promise<void> {
    this.#beats.put(`${role}\n${id}`, value);
  }

  async beats(role: string): Promise<ReadonlyMap<string, string>> {
    const ofRole = [...this.#beats.entries()].filter(([key]) => key.startsWith(`${role}\n`));
    return new Map(ofRole.map(([key, { value }]) => [key.slice(role.length + 1), value]));
  }

  async retire(role: string, id: string): Promise<void> {
    this.#beats.delete(`${role}\n${id}`);
  }

  async remember(key: string, value: string): Promise<string | null> {
    const earlier = this.#keys.get(key);
    if (earlier === null) this.#keys.put(key, value);
    return earlier?.value ?? null;
  }

  async recall(key: string): Promise<string | null> {
    return this.#keys.get(key)?.value ?? null;
  }

  async markCancelled(jobId: string, by: string): Promise<void> {
    this.#marks.put(jobId, by);
    for (const callback of this.#cancelListeners) callback(jobId);
  }

  async cancelMark(jobId: string): Promise<string | null> {
    return this.#marks.get(jobId)?.value ?? null;
  }

  async onCancel(callback: (jobId: string) => void, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    this.#cancelListeners.add(callback);
    signal.addEventListener("abort", () => this.#cancelListeners.delete(callback), { once: true });
  }

  async cancelMarks(after: number, max: number): Promise<readonly Noted[]> {
    return behind(this.#marks, after, max);
  }

  async noteJob(jobId: string, text: string): Promise<void> {
    this.#jobs.put(jobId, text);
  }

  async notes(after: number, max: number): Promise<readonly Noted[]> {
    return behind(this.#jobs, after, max);
  }

  async indexEnd(): Promise<number> {
    return this.#jobs.end;
  }

  async noteFailure(jobId: string, text: string): Promise<void> {
    this.#failures.put(jobId, text);
  }

  async failures(limit: number): Promise<readonly Noted[]> {
    return latest(this.#failures, limit);
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
    return latest(this.#jobs, limit);
  }

  async keepKey(id: string, text: string): Promise<void> {
    this.#access.put(id, text);
  }

  async forgetKey(id: string): Promise<void> {
    this.#access.delete(id);
  }

  async keptKeys(after: number, max: number): Promise<readonly KeptKey[]> {
    return behind(this.#access, after, max).map(({ place, jobId: id, text }) => ({ place, id, text }));
  }
}

function behind(shelf: Shelf<string>, after: number, max: number): Noted[] {
  const found: Noted[] = [];
  for (const [jobId, { place, value: text, keptMs: notedMs }] of shelf.entries()) {
    if (place > after && found.push({ place, jobId, text, notedMs }) === max) break;
  }
  return found;
}

const latest = (shelf: Shelf<string>, limit: number): Noted[] =>
  limit === 0 ? [] : behind(shelf, 0, Number.POSITIVE_INFINITY).slice(-limit).reverse();
