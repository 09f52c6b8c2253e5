import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openServedModel } from "../../../services/api/model.ts";
import { loadConfig } from "../../../services/shared/runtime/config.ts";
import { testApi } from "../../support/api.ts";

test("a model whose name holds slashes is found by it, sent as it is or encoded", async () => {
  const api = await testApi({ modelName: "deepseek-ai/DeepSeek-V4" });
  for (const path of ["deepseek-ai/DeepSeek-V4", "deepseek-ai%2FDeepSeek-V4"])
    expect(await (await fetch(`${api.url}/v1/models/${path}`)).json()).toMatchObject({ id: "deepseek-ai/DeepSeek-V4" });
  const other = await fetch(`${api.url}/v1/models/deepseek-ai/DeepSeek-V3`);
  expect([other.status, await other.json()]).toMatchObject([404, { error: { code: "model_not_found" } }]);
  await api.close();
});

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
