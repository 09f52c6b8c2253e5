import type { Clock } from "../runtime/clock.ts";
import type { Registry } from "./contract.ts";

interface Beating {
  readonly registry: Registry;
  readonly clock: Clock;
  readonly beatMs: number;
  /** Called after each beat: with null if the record took it, else with the reason. */
  readonly told?: (failure: unknown) => void;
}

/**
 * Shows `id` under `role`, with what `value` returns, until that is null; then retires it. Rejects when `signal`
 * aborts: the beat then expires.
 */
export async function beatWhile(
  { registry, clock, beatMs, told = () => {} }: Beating,
  role: string,
  id: string,
  value: () => string | null,
  signal: AbortSignal,
): Promise<void> {
  for (let said = value(); said !== null; said = value()) {
    await registry.beat(role, id, said).then(() => told(null), told); // the record is away: the next beat may come through
    await clock.sleep(beatMs, signal);
  }
  await registry.retire(role, id);
}
