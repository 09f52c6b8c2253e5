/** States made one by one, and transitions between them, some of which take nothing. */
export abstract class Ways<Part> {
  /** Makes a state. */
  protected abstract add(): number;
  protected abstract free(from: number, to: number): void;
  /** Adds what leads through `part` from `from`, and returns the state where it ends. */
  protected abstract through(part: Part, from: number): number;

  /** A new state, reached from `from` without taking anything. */
  protected behind(from: number): number {
    const state = this.add();
    this.free(from, state);
    return state;
  }

  /** As `through`, `least` to `most` times in a row. */
  protected repeat({ part, least, most }: { readonly part: Part; readonly least: number; readonly most: number }, from: number): number {
    let end = this.behind(from);
    for (let i = 0; i < least; i++) end = this.behind(this.through(part, end));
    if (most === Number.POSITIVE_INFINITY) {
      this.free(this.through(part, end), end);
      return this.behind(end);
    }
    const last = this.add();
    for (let i = least; i < most; i++) {
      this.free(end, last);
      end = this.behind(this.through(part, end));
    }
    this.free(end, last);
    return last;
  }
}
