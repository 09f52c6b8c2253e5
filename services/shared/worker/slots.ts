/** A bounded number of pieces of work under way. */
export class Slots {
  readonly #max: number;
  readonly #running = new Set<Promise<unknown>>();
  #wake: () => void = () => {};

  constructor(max: number) {
    this.#max = max;
  }

  get taken(): number {
    return this.#running.size;
  }

  get room(): number {
    return this.#max - this.#running.size;
  }

  get full(): boolean {
    return this.#running.size >= this.#max;
  }

  /** Resolves to true once there is room, false as soon as `stop` aborts. One caller at a time. */
  async free(stop: AbortSignal): Promise<boolean> {
    if (!this.full) return !stop.aborted;
    const onStop = () => this.#wake();
    stop.addEventListener("abort", onStop, { once: true });
    while (!stop.aborted && this.full) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    stop.removeEventListener("abort", onStop);
    return !stop.aborted;
  }

  /** `work` must not reject. */
  occupy(work: Promise<unknown>): void {
    const entry = work.finally(() => {
      this.#running.delete(entry);
      this.#wake();
    });
    this.#running.add(entry);
  }

  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }
}
