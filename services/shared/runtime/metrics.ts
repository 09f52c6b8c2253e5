import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

/**
 * One process's metrics in the Prometheus format. Passed in, never global, so that several clusters fit one process.
 */
export interface Metrics {
  counter(name: string, help: string, labels?: readonly string[]): Counter;
  gauge(name: string, help: string, labels?: readonly string[]): Gauge;
  histogram(name: string, help: string, buckets: readonly number[], labels?: readonly string[]): Histogram;
  /** A counter kept elsewhere: `read` gives its values, by label, whenever the metrics are read. */
  watch(name: string, help: string, label: string, read: () => Readonly<Record<string, number>>): void;
  text(): Promise<string>;
}

/** Asking twice for a name gives the same metric. */
export function openMetrics(options: { readonly process: boolean } = { process: false }): Metrics {
  const registry = new Registry();
  if (options.process) collectDefaultMetrics({ register: registry, prefix: "longshore_" });
  const registers = [registry];
  const once = <T>(name: string, make: () => T): T => (registry.getSingleMetric(name) as T | undefined) ?? make();
  return {
    counter: (name, help, labels = []) => once(name, () => new Counter({ name, help, labelNames: [...labels], registers })),
    gauge: (name, help, labels = []) => once(name, () => new Gauge({ name, help, labelNames: [...labels], registers })),
    histogram: (name, help, buckets, labels = []) =>
      once(name, () => new Histogram({ name, help, buckets: [...buckets], labelNames: [...labels], registers })),
    watch: (name, help, label, read) => {
      once(name, () => new Counter({ name, help, labelNames: [label], registers, collect: collectFrom(label, read) }));
    },
    text: () => registry.metrics(),
  };
}

/** prom-client calls it as a method of the counter. */
function collectFrom(label: string, read: () => Readonly<Record<string, number>>) {
  return function (this: Counter) {
    this.reset();
    for (const [value, count] of Object.entries(read())) this.inc({ [label]: value }, count);
  };
}
