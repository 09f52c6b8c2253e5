import type { JobRequest } from "../shared/bus/events.ts";

/** Sees the answer's ids one by one; true once the text contains a stop string. */
interface TextWatcher {
  push(id: number): boolean;
}

/** A watcher for an answer with these stop strings (at least one). */
export type WatchText = (stops: readonly string[]) => TextWatcher;

export type End = "stop" | "length";

/**
 * The answer so far, and whether it has ended. Its state follows from the ids alone, so a takeover takes the logged ids
 * and goes on. An id of `request.stopIds` ends the answer and is no part of it: it is not counted, and is logged only
 * if the hand-over had to name it.
 */
export class Answer {
  readonly ids: number[] = [];
  readonly #request: JobRequest;
  readonly #tokensMax: number;
  readonly #watcher: TextWatcher | null;
  readonly #stopIds: ReadonlySet<number>;

  constructor(request: JobRequest, contextTokens: number, watchText: WatchText) {
    this.#request = request;
    this.#tokensMax = Math.min(request.maxTokens, contextTokens - request.promptTokens);
    this.#watcher = request.stop.length === 0 ? null : watchText(request.stop);
    this.#stopIds = new Set(request.stopIds);
  }

  /** Takes the next id. Returns how it ended the answer; null if it did not. */
  take(id: number): End | null {
    if (this.isStop(id)) return "stop";
    this.ids.push(id);
    if (this.#watcher?.push(id) === true) return "stop";
    return this.ids.length >= this.#tokensMax ? "length" : null;
  }

  /** How many more ids it may have. */
  get left(): number {
    return this.#tokensMax - this.ids.length;
  }

  /** Whether only a stop id can end it early, which no draft contains. With stop strings, its text may end anywhere. */
  get endsById(): boolean {
    return this.#watcher === null;
  }

  isStop(id: number): boolean {
    return this.#stopIds.has(id);
  }

  usage(cachedTokens: number) {
    return { promptTokens: this.#request.promptTokens, completionTokens: this.ids.length, cachedTokens };
  }
}
