import type { Engine } from "../engine/engine.ts";
import type { Clock } from "../runtime/clock.ts";
import { ServingError } from "../runtime/errors.ts";

/** How often a busy engine is checked. */
const LOOK_MS = 1_000;

/**
 * The same engine, watched until `done` aborts: `onStall` is called once if calls wait for it and it finishes nothing,
 * not even a layer, for about `stallMs`. Time is counted in looks, not by the clock, so that a process that was
 * suspended for a while is not taken for a stall.
 */
export function watched(engine: Engine, clock: Clock, stallMs: number, done: AbortSignal, onStall: (error: ServingError) => void): Engine {
  let calls = 0;
  let idleLooks = 0;
  const moved = () => {
    idleLooks = 0;
  };
  const during = async <T>(call: () => Promise<T>): Promise<T> => {
    calls++;
    try {
      return await call();
    } finally {
      calls--;
      moved();
    }
  };
  const look = async () => {
    do await clock.sleep(LOOK_MS, done);
    while (calls === 0 || ++idleLooks * LOOK_MS < stallMs);
    onStall(new ServingError("UNAVAILABLE", `${calls} calls wait for the engine, and it has finished nothing for ${stallMs} ms`));
  };
  look().catch(() => {}); // done
  return {
    info: engine.info,
    allocate: (bytes) => engine.allocate(bytes),
    open: (start) => during(() => engine.open(start)),
    prefill: (sequence, ids, options = {}) =>
      during(() =>
        engine.prefill(sequence, ids, {
          ...options,
          onProgress: (layersDone, layers) => {
            moved();
            options.onProgress?.(layersDone, layers);
          },
        }),
      ),
    step: (batch) => during(() => engine.step(batch)),
    boundary: (sequence) => during(() => engine.boundary(sequence)),
    close: (sequence) => during(() => engine.close(sequence)),
    shutdown: () => engine.shutdown(),
  };
}
