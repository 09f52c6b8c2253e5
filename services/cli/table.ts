/** Labels and what they stand for, indented below a title. */
export const sheet = (title: string, rows: readonly (readonly string[])[]): string =>
  `${title}\n${table(rows.map(([label, value]) => [`  ${label}`, value!]))}`;

/** Rows of as many cells each, every column as wide as its widest. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const line = (row: readonly string[]) => row.map((cell, column) => cell.padEnd(widths[column]!)).join("  ");
  return rows.map((row) => line(row).trimEnd()).join("\n");
}
