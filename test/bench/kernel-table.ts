/** A line of longshore_bench: operations or bytes per second, and what part of the limit that is. */
export interface Measured {
  readonly name: string;
  readonly limit: "peak" | "reading";
  readonly rate: number;
  readonly share: number;
}

/** Lines of `name  time us  GFLOP/s  % of peak  GB/s`, or `name  time us  % of reading  GB/s`; others (the limits themselves) are left out. */
export function parseKernels(table: string): Measured[] {
  return table.split("\n").flatMap((line) => {
    const found = /^(.+?) +[\d.]+ us +(?:([\d.]+) GFLOP\/s +)?([\d.]+) % of (peak|reading) +([\d.]+) GB\/s$/.exec(line);
    if (found === null) return [];
    const [, name, gflops, percent, limit, gbytes] = found;
    const rate = 1e9 * Number(limit === "peak" ? gflops : gbytes);
    return Number(percent) > 0 ? [{ name: name!, limit: limit as Measured["limit"], rate, share: Number(percent) / 100 }] : [];
  });
}
