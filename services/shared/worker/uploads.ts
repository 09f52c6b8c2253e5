type Upload = () => Promise<void>;

/** Values on their way to the store while the engine goes on: at most `max` at once, the rest in line. */
export class Uploads {
  readonly #max: number;
  readonly #spare: () => Upload | null;
  readonly #waiting: Upload[] = [];
  readonly #running = new Set<Promise<void>>();

  /** `spare`: asked for one more while there is room and nothing stands in line. */
  constructor(max: number, spare: () => Upload | null = () => null) {
    this.#max = max;
    this.#spare = spare;
  }

  /** `upload` is called in its turn and must not reject. */
  add(upload: Upload): void {
    this.#waiting.push(upload);
    this.#start();
  }

  /** Resolves once nothing stands in line: the engine never runs further ahead of the store than one chunk. */
  async caughtUp(): Promise<void> {
    while (this.#waiting.length > 0) await Promise.race(this.#running);
  }

  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  #start(): void {
    while (this.#running.size < this.#max) {
      const upload = this.#waiting.shift() ?? this.#spare();
      if (upload === null) return;
      const entry = upload().finally(() => {
        this.#running.delete(entry);
        this.#start();
      });
      this.#running.add(entry);
    }
  }
}
