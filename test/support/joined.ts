/** The values of all parts, one part after another. */
export function joined(parts: readonly ArrayLike<number>[]): Float64Array {
  const values = new Float64Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    values.set(part, at);
    at += part.length;
  }
  return values;
}
