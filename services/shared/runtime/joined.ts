interface Values extends ArrayLike<number> {
  set(values: ArrayLike<number>, at: number): void;
}

/** All parts, concatenated into a new array of `kind`. */
export function joined<A extends Values>(kind: new (length: number) => A, parts: readonly ArrayLike<number>[]): A {
  const all = new kind(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
