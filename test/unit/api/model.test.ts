import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openServedModel } from "../../../services/api/model.ts";
import { loadConfig } from "../../../services/shared/runtime/config.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "longshore-model-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test.each([
  ["{", "is not JSON"],
  ["{}", "model_type is missing"],
])("a config.json that says %j is the checkpoint's fault, and named", async (text, why) => {
  const path = join(folder, "config.json");
  writeFileSync(path, text);
  const message = expect.stringMatching(new RegExp(`^${path}:? .*${why}`));
  await expect(openServedModel(loadConfig({ LONGSHORE_MODEL_PATH: folder }))).rejects.toMatchObject({ code: "BAD_CHECKPOINT", message });
});
