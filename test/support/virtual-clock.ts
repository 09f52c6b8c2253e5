import type { Clock } from "../../services/shared/runtime/clock.ts";

interface Alarm {
  readonly dueMs: number;
  readonly place: number;
  act: (() => void) | null;
}

/**
 * Time that passes only when nothing else can happen: a run of hours takes as long as its work, and always takes the
 * same course.
 */
export class VirtualClock implements Clock {
  #elapsedMs = 0;
  #set = 0;
  #turning = false;
  /** Reject functions of the work that time passes for. */
  readonly #running = new Set<(error: Error) => void>();
  readonly #alarms = new Heap();

  nowMs(): number {
    return 1_700_000_000_000 + Math.floor(this.#elapsedMs);
  }

  monotonicMs(): number {
    return this.#elapsedMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return sleepOn((act) => this.after(ms, act), signal);
  }

  /**
   * Calls `act` once after `ms`, unless the returned function is called before. What is due at the same time goes in
   * the order it was set.
   */
  after(ms: number, act: () => void): () => void {
    const alarm: Alarm = { dueMs: this.#elapsedMs + Math.max(0, ms), place: this.#set++, act };
    this.#alarms.add(alarm);
    return () => {
      alarm.act = null;
    };
  }

  /** Lets time pass until `work` is done; calls may overlap. Rejects if nothing is left that could ever end it. */
  run<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#running.add(reject);
      work.finally(() => this.#running.delete(reject)).then(resolve, reject);
      if (!this.#turning) inNextTurn(this.#turn);
      this.#turning = true;
    });
  }

  readonly #turn = (): void => {
    if (this.#running.size === 0) this.#turning = false;
    else if (this.#wakeNext()) inNextTurn(this.#turn);
    else setImmediate(this.#last);
  };

  readonly #last = (): void => {
    if (this.#running.size > 0 && this.#wakeNext()) inNextTurn(this.#turn);
    else {
      this.#turning = false;
      for (const reject of this.#running) reject(new Error("everybody waits and nobody will come"));
      this.#running.clear();
    }
  };

  #wakeNext(): boolean {
    for (let next = this.#alarms.take(); next !== null; next = this.#alarms.take()) {
      if (next.act === null) continue;
      this.#elapsedMs = Math.max(this.#elapsedMs, next.dueMs);
      next.act();
      return true;
    }
    return false;
  }
}

/**
 * Calls `act` once no promise has anything left to do. A whole turn of the event loop would do the same ten times
 * slower.
 */
const inNextTurn = (act: () => void): void => queueMicrotask(() => process.nextTick(act));

/** A clock's `sleep` on top of an alarm. */
export function sleepOn(after: (act: () => void) => () => void, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const cancel = after(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    });
    const stop = () => {
      cancel();
      reject(signal?.reason);
    };
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** Alarms by time, then by place: a binary heap. */
class Heap {
  readonly #alarms: Alarm[] = [];

  add(alarm: Alarm): void {
    const alarms = this.#alarms;
    let at = alarms.length;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(alarm, alarms[parent]!)) break;
      alarms[at] = alarms[parent]!;
      at = parent;
    }
    alarms[at] = alarm;
  }

  take(): Alarm | null {
    const alarms = this.#alarms;
    const first = alarms[0] ?? null;
    const last = alarms.pop();
    if (last === undefined || last === first) return first;
    let at = 0;
    for (let child = 1; child < alarms.length; child = 2 * at + 1) {
      if (child + 1 < alarms.length && before(alarms[child + 1]!, alarms[child]!)) child++;
      if (!before(alarms[child]!, last)) break;
      alarms[at] = alarms[child]!;
      at = child;
    }
    alarms[at] = last;
    return first;
  }
}

const before = (a: Alarm, b: Alarm): boolean => a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.place < b.place);
