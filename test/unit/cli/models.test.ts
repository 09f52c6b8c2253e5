import { copyFileSync, cpSync, mkdtempSync, rmSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { doctor } from "../../../services/cli/commands/doctor.ts";
import { inspect } from "../../../services/cli/inspect.ts";
import { findModelConfig, sizes } from "../../../services/cli/sizes.ts";
import { memoryPresent } from "../../../services/shared/engine/checkpoint/memory.ts";
import { loadConfig as loadSettings } from "../../../services/shared/runtime/config.ts";
import { releasedConfig, writeSynthetic } from "../../support/synthetic.ts";

const yardlog = fileURLToPath(new URL("../../../deploy/models/yardlog", import.meta.url));

const sizesText = (where: string): string => {
  const { name, config } = findModelConfig(where);
  return sizes(name, config);
};

test("sizes of a released model needs nothing but its name", () => {
  expect(
    sizesText("v4-flash")
      .split("\n")
      .map((line) => line.replace(/ +/g, " ")),
  ).toEqual([
    "v4-flash",
    " weights 159.6 GB in 69,187 tensors",
    " KV layout e4m3_bf16+fp4",
    " entry, index key 584 B, 68 B",
    " KV per token 3514.25 B",
    " 2 x window only 0 B",
    " 21 x CSA, ratio 4 3423 B",
    " 20 x HCA, ratio 128 91.25 B",
    " segment of 512 tokens 1,799,296 B",
    " 1,048,576 tokens 3.685 GB",
    " sequence, fixed part 15.42 MB: windows 3.214 MB, compressors 12.21 MB",
    " boundary at the end 3.619 MB",
  ]);
  expect(sizesText("v4-pro")).toMatch(/KV per token +5031.4375 B[\s\S]*1,048,576 tokens +5.276 GB/);
});

test("sizes takes a folder or a file alike, and names what it knows when it finds neither", () => {
  expect(sizesText(yardlog)).toMatch(/^yardlog\n[\s\S]*KV per token +101.5625 B/);
  expect(findModelConfig(`${yardlog}/config.json`).config).toEqual(findModelConfig(yardlog).config);
  expect(() => findModelConfig("v5")).toThrow(
    "v5: neither a config.json, nor a folder with one, nor one of v4-flash, v4-flash-0731, v4-pro",
  );
});

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "longshore-inspect-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

test("inspect says what the folder holds, what serving it takes, and what is strange about it", async () => {
  writeSynthetic(folder, releasedConfig("configs/v4-flash-0731.json"), 48);
  copyFileSync(join(yardlog, "tokenizer.json"), join(folder, "tokenizer.json"));
  const text = await inspect(folder, { bytes: 32e9, limitedBy: "cgroup" });
  expect(text).toContain("0731 release, 43 layers, experts F4_E2M1");
  expect(text).toContain("72,317 tensors, 166.9 GB, 48 files");
  expect(text).toContain("67,612 tensors, 156.0 GB");
  expect(text).toMatch(/needs +156.0 GB of memory for the weights/);
  expect(text).toContain("3.700 GB of KV for each sequence of 1,048,576 tokens");
  expect(text).toMatch(/has +32.00 GB \(limit of the container\)/);
  expect(text).toContain("the weights need 156.0 GB of memory and 32.00 GB are present");
  expect(text).toContain("the DSpark drafting block (4,705 tensors, 10.86 GB) is known and not used yet");
});

test.each([
  ["without its tokenizer", "cannot be read", (path: string) => rmSync(path)],
  ["with half of its tokenizer", "is damaged", (path: string) => truncateSync(path, 60_000)],
])("a model %s cannot start, and inspect and doctor say so", async (_, why, harm) => {
  cpSync(yardlog, folder, { recursive: true });
  const path = join(folder, "tokenizer.json");
  harm(path);
  await expect(inspect(folder)).rejects.toMatchObject({
    code: "BAD_CHECKPOINT",
    message: expect.stringContaining(`${path} ${why}`),
  });
  const printed = vi.spyOn(console, "log").mockImplementation(() => {});
  const serves = await doctor(loadSettings({ LONGSHORE_MODEL_PATH: folder }));
  const lines = printed.mock.calls.map(([line]) => line as string);
  printed.mockRestore();
  expect(serves).toBe(false);
  expect(lines).toContainEqual(expect.stringMatching(new RegExp(`^-- +model +${path} ${why}`)));
  expect(lines.at(-1)).toContain("Missing: model");
});

test("memory present is the smaller of the machine's and the container's; no limit is no limit", () => {
  expect(memoryPresent(64e9, 16e9)).toEqual({ bytes: 16e9, limitedBy: "cgroup" });
  expect(memoryPresent(64e9, 0)).toEqual({ bytes: 64e9, limitedBy: "machine" });
  expect(memoryPresent(64e9, 2 ** 64)).toEqual({ bytes: 64e9, limitedBy: "machine" });
});
