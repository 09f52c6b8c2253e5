import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { type Checkpoint, openCheckpoint } from "../../../../../services/shared/engine/checkpoint/open.ts";
import type { TensorRef } from "../../../../../services/shared/engine/checkpoint/weights.ts";
import { inFolder, releasedConfig, writeSynthetic } from "../../../../support/synthetic.ts";

const golden = (name: string) => fileURLToPath(new URL(`../../../../golden/data/${name}`, import.meta.url));
const yardlog = releasedConfig("yardlog/config.json");

const bytesOf = ({ shards }: Checkpoint, { shard, offset }: TensorRef, count: number) =>
  readFileSync(shards[shard]!.path).subarray(offset, offset + count);

test("an all-F32 checkpoint without quantization_config: every tensor used, references lead to the values", () => {
  const checkpoint = openCheckpoint(golden("t1"));
  const { weights, stored, mapped, warnings } = checkpoint;
  expect(stored).toEqual({ tensors: 263, bytes: mapped.bytes, byDtype: { F32: 262, I64: 1 } });
  expect(mapped).toEqual(stored);
  expect(warnings).toEqual([]);
  expect(weights.layers.map(({ attn, moe }) => [attn.kind, attn.ratio, moe.routing])).toEqual([
    ["sliding", 0, "hash"],
    ["csa", 4, "scored"],
    ["hca", 8, "scored"],
    ["csa", 4, "scored"],
  ]);
  expect(weights.mtp?.layer.attn.kind).toBe("sliding");
  const first = bytesOf(checkpoint, weights.embed, 8);
  expect([first.readFloatLE(0), first.readFloatLE(4)]).toEqual([0.14517533779144287, 0.8686497211456299]); // spec, Appendix A
});

test("the released formats in two shards, packed FP4 told in values", () => {
  const checkpoint = openCheckpoint(golden("t2"));
  const { weights, stored, warnings } = checkpoint;
  expect(stored.tensors).toBe(508);
  expect(warnings).toEqual([]);
  const { attn, moe } = weights.layers[2]!;
  expect(attn.wqB).toMatchObject({ weight: { dtype: "F8_E4M3", shape: [512, 128] }, scale: { dtype: "F8_E8M0", shape: [4, 1] } });
  expect(moe.experts[7]!.w2).toMatchObject({
    weight: { dtype: "F4_E2M1", shape: [256, 128] },
    scale: { dtype: "F8_E8M0", shape: [256, 4] },
  });
  expect(moe.gate).toMatchObject({ weight: { dtype: "BF16", shape: [8, 256] }, scale: null });
  expect(new Set([weights.embed.shard, weights.head.weight.shard])).toEqual(new Set([0, 1]));
});

test.each([["fp8"], [undefined]])("FP8 experts are told by their tensors (config says %s)", (stated) => {
  inFolder((dir) => {
    writeSynthetic(dir, { ...yardlog, expert_dtype: "fp8" }, 1, { ...yardlog, expert_dtype: stated });
    const { weights, warnings } = openCheckpoint(dir);
    const { w1 } = weights.layers[1]!.moe.experts[3]!;
    expect(w1).toMatchObject({ weight: { dtype: "F8_E4M3", shape: [128, 256] }, scale: { shape: [1, 2] } });
    expect(warnings).toEqual([]);
  });
});
