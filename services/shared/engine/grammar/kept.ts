/** Bytes, as far as they can be told, that all grammars of a thread keep for later. */
const KEPT_MAX = 128 * 1024 ** 2;

/** What is kept by all grammars together. Where it gets too much, each forgets what it keeps, before the next call. */
export class Kept {
  readonly #max: number;
  #bytes = 0;
  #turn = 0;

  constructor(max = KEPT_MAX) {
    this.#max = max;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Another number each time that all is to be forgotten. */
  get turn(): number {
    if (this.#bytes > this.#max) {
      this.#turn++;
      this.#bytes = 0;
    }
    return this.#turn;
  }

  add(bytes: number): void {
    this.#bytes += bytes;
  }
}
