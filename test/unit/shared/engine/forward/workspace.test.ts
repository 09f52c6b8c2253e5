import { expect, test } from "vitest";
import { parseModelConfig } from "../../../../../services/shared/engine/checkpoint/config.ts";
import { createWorkspace, workspaceBytes } from "../../../../../services/shared/engine/forward/workspace.ts";
import { payloadLayout } from "../../../../../services/shared/engine/layout.ts";
import { releasedConfig } from "../../../../support/synthetic.ts";

const flash = parseModelConfig(releasedConfig("configs/v4-flash.json"));
const layout = payloadLayout(flash, { mode: "serving", segmentTokens: 512 });

test("a row of V4-Flash takes 268 KB in serving mode, and 49 more only where the MTP block runs", () => {
  const bytes = (rowsMax: number, drafts?: boolean) => workspaceBytes(flash, layout, "BF16", { rowsMax, logitRows: 64, drafts });
  expect(flash.mtpLayers).toBe(1);
  expect((bytes(2_048) - bytes(1_024)) / 1_024).toBe(267_740);
  expect((bytes(2_048, true) - bytes(1_024, true)) / 1_024).toBe(267_740 + 2 * 4_096 * (1 + 1 + 4));
});

test("memory of the MTP block is refused where it was not asked for", () => {
  const size = { rowsMax: 2, logitRows: 1 };
  const [plain, drafting] = [size, { ...size, drafts: true }].map((size) => createWorkspace(flash, layout, "BF16", size));
  expect(() => plain!.at("streamsProjected", [8, flash.hidden])).toThrow("streamsProjected holds 0 values");
  expect(drafting!.at("streamsProjected", [8, flash.hidden]).shape).toEqual([8, 4_096]);
  plain!.release();
  drafting!.release();
});
