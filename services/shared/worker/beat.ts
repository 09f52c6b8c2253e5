import type { Registry } from "../bus/contract.ts";
import type { Clock } from "../runtime/clock.ts";

export interface Beating {
  readonly phase: string;
  readonly worker: string;
  readonly beatMs: number;
}

/** Tells the registry every `beatMs` that this worker lives and what it carries. Rejects when `stop` aborts. */
export async function beatUntil(
  registry: Registry,
  clock: Clock,
  { phase, worker, beatMs }: Beating,
  load: () => string,
  stop: AbortSignal,
): Promise<never> {
  for (;;) {
    await registry.beat(phase, worker, load()).catch(() => {}); // the record is away: the next beat tells
    await clock.sleep(beatMs, stop);
  }
}
