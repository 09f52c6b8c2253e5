/** 3,685,000,000 -> "3.69 GB" (powers of 1000). Below 10 kB exact. */
export function bytes(count: number): string {
  if (count < 10_000) return `${count} B`;
  const names = ["kB", "MB", "GB", "TB"];
  const power = Math.min(Math.floor(Math.log10(count) / 3), names.length);
  return `${(count / 1000 ** power).toPrecision(4)} ${names[power - 1]}`;
}

export const whole = (count: number): string => count.toLocaleString("en-US", { maximumFractionDigits: 0 });
