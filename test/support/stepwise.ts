import { EventEmitter, once } from "node:events";
import { vi } from "vitest";
import type { Engine } from "../../services/shared/engine/engine.ts";

/**
 * Call the result: the engine makes so many steps from then on, and then stands still. What a test is to find at work is at work however long the
 * test, or a process that it starts, takes to come.
 */
export function stepwise(engine: Engine): (steps: number) => void {
  const allowed = new EventEmitter();
  let left = Number.POSITIVE_INFINITY;
  const step = engine.step.bind(engine);
  vi.spyOn(engine, "step").mockImplementation(async (batch) => {
    while (left === 0) await once(allowed, "more");
    left--;
    return step(batch);
  });
  return (steps) => {
    left = steps;
    allowed.emit("more");
  };
}
