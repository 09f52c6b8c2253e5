import { expect, test } from "vitest";
import { openWeightlessEngine } from "../../../../services/shared/engine/weightless/weightless.ts";
import type { ServingError } from "../../../../services/shared/runtime/errors.ts";
import { watched } from "../../../../services/shared/worker/watched-engine.ts";
import { overriding } from "../../../support/overriding.ts";
import { VirtualClock } from "../../../support/virtual-clock.ts";

const STALL_MS = 10_000;
const ids = Int32Array.of(1, 2, 3);

function watching(options: { chunkMs?: number; hangs?: boolean }) {
  const clock = new VirtualClock();
  const done = new AbortController();
  const stalls: ServingError[] = [];
  const inner = openWeightlessEngine({ clock, chunkMs: options.chunkMs ?? 0, layers: 10, turn: async () => {} });
  const hanging = overriding(inner, { step: () => clock.sleep(1e9).then(() => []) });
  const engine = watched(options.hangs === true ? hanging : inner, clock, STALL_MS, done.signal, (error) => stalls.push(error));
  return { clock, engine, stalls, done };
}

test("an engine that hangs is told once, as soon as it has stood for the time allowed", async () => {
  const { clock, engine, stalls } = watching({ hangs: true });
  void engine.step([]);
  await clock.run(clock.sleep(STALL_MS - 1));
  expect(stalls).toEqual([]);
  await clock.run(clock.sleep(60_000));
  expect(stalls.map(({ message }) => message)).toEqual(["1 calls wait for the engine, and it has finished nothing for 10000 ms"]);
});

test("a chunk of any length is no stall as long as its layers come, nor is having nothing to do", async () => {
  const { clock, engine, stalls, done } = watching({ chunkMs: 90_000 });
  await clock.run(clock.sleep(60_000));
  const { sequence } = await clock.run(engine.open({ segments: [], boundary: null }));
  const layers: number[] = [];
  await clock.run(engine.prefill(sequence, ids, { onProgress: (layer) => layers.push(layer) }));
  await clock.run(clock.sleep(60_000));
  expect([stalls, layers.length]).toEqual([[], 10]);
  done.abort();
});
