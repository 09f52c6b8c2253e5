import { type Operation, operationNames, type Stream } from "../../services/shared/engine/kernels.ts";

/** A stream that waits for each operation and keeps the seconds it took. */
export interface Profiled {
  readonly ops: Stream;
  /** What part of all seconds these operations took. */
  share(...operations: readonly Operation[]): number;
  /** The most expensive operations with their shares, for a note. */
  summary(): string;
}

export function profiled(stream: Stream): Profiled {
  const seconds = new Map<Operation, number>();
  const timed = (operation: Operation) => (args: never) => {
    const start = process.hrtime.bigint();
    stream[operation](args);
    stream.wait();
    seconds.set(operation, (seconds.get(operation) ?? 0) + Number(process.hrtime.bigint() - start) / 1e9);
  };
  const of = (operation: Operation) => seconds.get(operation) ?? 0;
  const share = (...operations: readonly Operation[]) => sum(operations.map(of)) / sum([...seconds.values()]);
  return {
    ops: { ...stream, ...Object.fromEntries(operationNames.map((operation) => [operation, timed(operation)])) } as Stream,
    share,
    summary: () =>
      [...seconds.keys()]
        .sort((a, b) => of(b) - of(a))
        .slice(0, SHOWN)
        .map((operation) => `${operation} ${(100 * share(operation)).toFixed(1)} %`)
        .join(", "),
  };
}

const SHOWN = 6;

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
