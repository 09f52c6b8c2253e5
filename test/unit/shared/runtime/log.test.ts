import { spawnSync } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { expect, test } from "vitest";

const logging = `
  import { openLog } from "./services/shared/runtime/log.ts";
  const log = openLog("api", "info");
  for (let i = 0; i < 3; i++) log.info("a line");
  console.log("alive");
`;

test("a log that cannot be written ends nobody's work", () => {
  const full = openSync("/dev/full", "w");
  const args = ["--import", "tsx", "--input-type=module", "--eval", logging];
  const { stdout, status } = spawnSync(process.execPath, args, { stdio: ["ignore", "pipe", full], encoding: "utf8" });
  closeSync(full);
  expect([stdout, status]).toEqual(["alive\n", 0]);
});
