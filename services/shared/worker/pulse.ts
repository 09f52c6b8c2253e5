/**
 * The sign of life of one engine. Each layer or step it finishes tells all jobs that wait for it, on any worker, that
 * the engine is alive.
 */
export class Pulse {
  readonly #listeners = new Set<() => void>();

  beat(): void {
    for (const listener of this.#listeners) listener();
  }

  /** Calls back with every beat until the returned function is called. */
  onBeat(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
}
