import type { Clock } from "../../shared/runtime/clock.ts";
import type { Surface } from "../answer/surface.ts";
import type { StreamEvent } from "../http/sse.ts";

/** How far a job is, for whoever waits for it. */
export class Outlook {
  readonly #clock: Clock;
  readonly #openedMs: number;
  /** Until the answer of a job that waits begins, as it looked when this was opened. */
  readonly #queueSeconds: number | null;
  #first: Seen | null = null;
  #last: Seen | null = null;
  #begun = false;

  constructor(clock: Clock, queueSeconds: number | null) {
    this.#clock = clock;
    this.#openedMs = clock.monotonicMs();
    this.#queueSeconds = queueSeconds;
  }

  get begun(): boolean {
    return this.#begun;
  }

  read({ done, total }: { readonly done: number; readonly total: number }): void {
    const seen = { done, total, atMs: this.#clock.monotonicMs() };
    if (this.#last === null || done < this.#last.done) this.#first = seen; // a worker that took over begins again
    this.#last = seen;
  }

  begin(): void {
    this.#begun = true;
  }

  /** `eta_seconds`: until the answer begins, about; null where nothing can be said. */
  now(): { readonly status: string; readonly done: number; readonly total: number | null; readonly eta_seconds: number | null } {
    const { done, total } = this.#last ?? { done: 0, total: null };
    const status = this.#begun ? "decode" : this.#last === null ? "queued" : "prefill";
    const seconds = this.#begun ? 0 : this.#secondsLeft();
    return { status, done, total, eta_seconds: seconds === null ? null : Math.ceil(Math.max(0, seconds)) };
  }

  #secondsLeft(): number | null {
    const [first, last, nowMs] = [this.#first, this.#last, this.#clock.monotonicMs()];
    if (first === null || last === null) return this.#queueSeconds === null ? null : this.#queueSeconds - (nowMs - this.#openedMs) / 1_000;
    if (last.done === first.done) return null;
    const tokensPerMs = (last.done - first.done) / (last.atMs - first.atMs);
    return ((last.total - last.done) / tokensPerMs - (nowMs - last.atMs)) / 1_000;
  }
}

interface Seen {
  readonly done: number;
  readonly total: number;
  readonly atMs: number;
}

/** The same surface, which tells how far the job is too, in events named `progress`: as it gets on, and in place of heartbeats until it answers. */
export function withProgress(surface: Surface, outlook: Outlook): Surface {
  const told = (): StreamEvent => ({ name: "progress", data: JSON.stringify(outlook.now()) });
  return {
    ...surface,
    opening: (request) => [...surface.opening(request), told()],
    progress: (prefill) => {
      outlook.read(prefill);
      return [...surface.progress(prefill), told()];
    },
    more: (deltas, scores) => {
      if (deltas.length > 0) outlook.begin();
      return surface.more(deltas, scores);
    },
    get heartbeat() {
      return outlook.begun ? surface.heartbeat : told();
    },
  };
}
