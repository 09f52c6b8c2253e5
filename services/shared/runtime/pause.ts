import { setMaxListeners } from "node:events";
import type { Clock } from "./clock.ts";
import { isUnavailable } from "./errors.ts";

/**
 * A wait that ends with its time, its signal if it has one, or `end()`. Never rejects; the caller checks what happened.
 */
export class Pause {
  #over: () => void = nobodyWaits;

  end(): void {
    this.#over();
  }

  wait(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return Promise.resolve();
    return new Promise((resolve) => {
      const over = () => {
        cancel();
        signal?.removeEventListener("abort", over);
        if (this.#over === over) this.#over = nobodyWaits; // a later wait has its own
        resolve();
      };
      const cancel = clock.after(ms, over);
      if (signal !== undefined) setMaxListeners(0, signal);
      signal?.addEventListener("abort", over, { once: true });
      this.#over = over;
    });
  }
}

const nobodyWaits = (): void => {};

/**
 * Calls back when one of `signals` aborts, until the returned function is called. The caller checks for one that has
 * aborted already.
 */
export function onAbort(signals: readonly AbortSignal[], act: () => void): () => void {
  for (const signal of signals) {
    setMaxListeners(0, signal);
    signal.addEventListener("abort", act, { once: true });
  }
  return () => {
    for (const signal of signals) signal.removeEventListener("abort", act);
  };
}

/**
 * A signal that aborts with any of `signals`, for its reason. Unlike AbortSignal.any it leaves nothing behind in
 * signals that live as long as the process, once it is released.
 */
export function linked(...signals: readonly AbortSignal[]): { readonly signal: AbortSignal; release(): void } {
  const controller = new AbortController();
  const stop = () => controller.abort(signals.find(({ aborted }) => aborted)?.reason);
  if (signals.some(({ aborted }) => aborted)) stop();
  return { signal: controller.signal, release: onAbort(signals, stop) };
}

const RETRY_MS = 20;
const RETRY_MS_MAX = 1_000;

/** How long to wait before try number `tries` + 1. */
export const backoffMs = (tries: number): number => Math.min(RETRY_MS_MAX, RETRY_MS * 2 ** Math.min(tries, 10));

/**
 * Repeats `attempt` for about `ms` while it rejects with an error that `mayPass` accepts, by default UNAVAILABLE; then
 * the last rejection stands. Any other error rejects at once.
 */
export async function patiently<T>(
  clock: Clock,
  ms: number,
  signal: AbortSignal,
  attempt: () => Promise<T>,
  mayPass: (thrown: unknown) => boolean = isUnavailable,
): Promise<T> {
  const endMs = clock.monotonicMs() + ms;
  for (let tries = 0; ; tries++) {
    try {
      return await attempt();
    } catch (thrown) {
      const waitMs = backoffMs(tries);
      const again = mayPass(thrown) && !signal.aborted && clock.monotonicMs() + waitMs < endMs;
      if (!again) throw thrown;
      await new Pause().wait(clock, waitMs, signal);
    }
  }
}
