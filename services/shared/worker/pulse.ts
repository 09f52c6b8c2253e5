/**
 * The sign of life of one engine: with every layer and step it finishes, all who wait for it know that they wait for something that lives,
 * whichever of the workers on this engine holds them.
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
