/** The events of a run in order: kept on request, and always summed up in a hash that tells two runs apart. */
export class Trace {
  readonly lines: string[] = [];
  readonly #keep: boolean;
  #hash = 0x811c9dc5;

  constructor(keep: boolean) {
    this.#keep = keep;
  }

  get hash(): string {
    return (this.#hash >>> 0).toString(16).padStart(8, "0");
  }

  note(atMs: number, who: string, what: string): void {
    const line = `${atMs.toFixed(1).padStart(9)} ${who.padEnd(10)} ${what}`;
    for (let i = 0; i < line.length; i++) this.#hash = Math.imul(this.#hash ^ line.charCodeAt(i), 0x01000193);
    if (this.#keep) this.lines.push(line);
  }
}
