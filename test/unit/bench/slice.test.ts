import { expect, test, vi } from "vitest";
import { openCheckpoint } from "../../../services/shared/engine/checkpoint/open.ts";
import type { Stream } from "../../../services/shared/engine/kernels.ts";
import { profiled } from "../../bench/profile.ts";
import { sliceConfig, sliceJson, weightBytes } from "../../bench/slice-model.ts";
import { inFolder, writeSynthetic } from "../../support/synthetic.ts";

const mapped = inFolder((dir) => {
  writeSynthetic(dir, sliceJson, 1);
  return openCheckpoint(dir).mapped.bytes;
});

test("the slice is a checkpoint with one layer of each kind and the dimensions of V4-Flash", () => {
  expect(sliceConfig.ratios).toEqual([0, 4, 128]);
  expect(sliceConfig).toMatchObject({ hidden: 4_096, heads: 64, headDim: 512, experts: 256, intermediate: 2_048, indexHeads: 64 });
  expect(mapped).toBeGreaterThan(10e9);
});

test("a step touches all weights but the embedding, and of the experts those that were chosen", () => {
  const embedding = 2 * sliceConfig.vocab * sliceConfig.hidden;
  const expert = 3 * (sliceConfig.hidden * sliceConfig.intermediate) * (1 / 2 + 1 / 32);
  const all = weightBytes([256, 256, 256]);
  expect(all).toBe(mapped - embedding);
  expect(all - weightBytes([6, 6, 16])).toBe((250 + 250 + 240) * expert);
});

test("a profile passes every call on, waits for it, and gives each operation its share of the time", () => {
  vi.useFakeTimers({ toFake: ["hrtime"] });
  const seen: string[] = [];
  const slow = (name: string, ms: number) => () => {
    seen.push(name);
    vi.advanceTimersByTime(ms);
  };
  const { ops, share, summary } = profiled({ rope: slow("rope", 8), add: slow("add", 2), wait: slow("wait", 0) } as unknown as Stream);
  ops.rope({} as never);
  ops.add({} as never);
  expect(seen).toEqual(["rope", "wait", "add", "wait"]);
  vi.useRealTimers();
  expect(share("rope")).toBeCloseTo(0.8, 12);
  expect(share("rope", "add")).toBeCloseTo(1, 12);
  expect(summary()).toBe("rope 80.0 %, add 20.0 %");
});
