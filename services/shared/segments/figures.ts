import type { Metrics } from "../runtime/metrics.ts";
import type { CountedStore } from "./contract.ts";

/** Exposes a store's counters as metrics. */
export function showFigures(store: CountedStore, metrics: Metrics): void {
  metrics.watch("longshore_store_reads_total", "Values asked for, by how it ended.", "end", () => {
    const { hits, misses, damaged } = store.stats();
    return { hit: hits, miss: misses, damaged };
  });
  metrics.watch("longshore_store_failures_total", "Operations the store could not do.", "reason", () => store.stats().failuresBy);
  metrics.watch("longshore_store_bytes_total", "Payload bytes moved.", "direction", () => {
    const { bytesOut, stored } = store.stats();
    return { in: stored.segment.bytes + stored.boundary.bytes, out: bytesOut };
  });
}
