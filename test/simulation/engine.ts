import type { Engine, SequenceId, StepResult } from "../../services/shared/engine/engine.ts";
import { ServingError } from "../../services/shared/runtime/errors.ts";
import { overriding } from "../support/overriding.ts";
import type { Process } from "./process.ts";
import { CLAIM_MS, type World } from "./world.ts";

/** A worker's engine: each call may fail, one sequence of a step alone too, and may take longer than a claim lives. */
export function engineOf(world: World, process: Process, engine: Engine): Engine {
  const { dice } = process;
  const { engineFailures, engineStalls, engineStallMs } = world.weather;
  /** Sequences that failed and can only be closed. */
  const lost = new Set<SequenceId>();
  const fails = (): boolean => {
    if (!world.stormy || !dice.chance(engineFailures)) return false;
    process.mishaps++;
    process.note("its engine fails");
    return true;
  };
  const mayFail = () => {
    if (fails()) throw new Error("the engine failed");
  };
  const mayStall = async () => {
    if (!world.stormy || !dice.chance(engineStalls)) return;
    const ms = dice.upTo(engineStallMs);
    process.note(`its engine stands still for ${ms.toFixed(0)} ms`);
    if (ms > CLAIM_MS / 2) process.mishaps++;
    await process.clock.sleep(ms);
  };
  const oneAlone = (batch: Parameters<Engine["step"]>[0], results: readonly StepResult[]): StepResult[] =>
    results.map((result, i) => {
      if ("failed" in result || !fails()) return result;
      lost.add(batch[i]!.sequence);
      for (const { payload } of result.sealed) payload.release();
      return { failed: new ServingError("INTERNAL", "its logits are not finite") };
    });
  const failing = overriding(engine, {
    allocate: (bytes) => {
      mayFail();
      return engine.allocate(bytes);
    },
    open: async (start) => {
      mayFail();
      return engine.open(start);
    },
    prefill: async (sequence, ids, options) => {
      mayFail();
      await mayStall();
      return engine.prefill(sequence, ids, options);
    },
    step: async (batch) => {
      mayFail();
      await mayStall();
      return oneAlone(batch, await engine.step(batch));
    },
    boundary: async (sequence) => {
      if (lost.has(sequence)) throw new ServingError("INVALID_REQUEST", "it can only be closed");
      mayFail();
      return engine.boundary(sequence);
    },
    close: (sequence) => {
      lost.delete(sequence);
      return engine.close(sequence);
    },
  });
  return world.bug.engine?.(failing, process, world) ?? failing;
}
