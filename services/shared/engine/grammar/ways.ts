/** States that are made one by one, and ways between them, of which some take nothing. */
export abstract class Ways<Part> {
  /** A new state. */
  protected abstract add(): number;
  protected abstract free(from: number, to: number): void;
  /** Adds what leads through it from `from`, and gives where it ends. */
  protected abstract through(part: Part, from: number): number;

  /** A state that is reached for nothing. */
  protected behind(from: number): number {
    const state = this.add();
    this.free(from, state);
    return state;
  }

  /** As `through`, so often one behind the other. */
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
