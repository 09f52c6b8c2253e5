import { EventEmitter, once } from "node:events";
import { vi } from "vitest";
import type { Engine } from "../../services/shared/engine/engine.ts";

/**
 * Lets the engine make as many steps as the returned function is called with, after which it stands still. So work in
 * progress stays that, however long the test, or a process that it starts, takes to find it.
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
