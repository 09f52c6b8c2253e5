/** Bound of what all grammars of a thread keep for later, in bytes as far as they can be counted. */
const KEPT_MAX = 128 * 1024 ** 2;

/** Counts what all grammars keep together. Past the bound, each forgets what it keeps before the next call. */
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

  /** Changes each time that everything is to be forgotten. */
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
