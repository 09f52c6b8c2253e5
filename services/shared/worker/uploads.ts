type Upload = () => Promise<void>;

/** Uploads to the store in the background: at most `max` at once, the rest in line. */
export class Uploads {
  readonly #max: number;
  readonly #spare: () => Upload | null;
  readonly #waiting: Upload[] = [];
  readonly #running = new Set<Promise<void>>();

  /** `spare`: asked for one more upload while there is room and the line is empty. */
  constructor(max: number, spare: () => Upload | null = () => null) {
    this.#max = max;
    this.#spare = spare;
  }

  /** `upload` is called in its turn and must not reject. */
  add(upload: Upload): void {
    this.#waiting.push(upload);
    this.#start();
  }

  /** Resolves once the line is empty: the engine never runs further ahead of the store than one chunk. */
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
