import { spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ServingError } from "../../../../services/shared/runtime/errors.ts";
import { told } from "../../../../services/shared/runtime/log.ts";
import { evaluated } from "../../../support/program.ts";

const logging = (lines: string) => `
  import { openLog } from "./services/shared/runtime/log.ts";
  const log = openLog("api", "info");
  ${lines}
  console.log("alive");
`;
const run = (lines: string, stderr: number) => {
  const { stdout, status } = spawnSync(process.execPath, evaluated(logging(lines)), {
    stdio: ["ignore", "pipe", stderr],
    encoding: "utf8",
    timeout: 60_000,
  });
  closeSync(stderr);
  return [stdout, status];
};

test("a log that cannot be written ends nobody's work, and a last word keeps nobody", () => {
  const said = run('for (let i = 0; i < 3; i++) log.info("a line"); log.fatal("the last one")', openSync("/dev/full", "w"));
  expect(said).toEqual(["alive\n", 0]);
});

test("a log that had no room for as many lines as may wait goes on when there is room again", () => {
  const folder = mkdtempSync(join(tmpdir(), "longshore-log-"));
  const path = join(folder, "log");
  const lines = `
    const { closeSync, openSync } = await import("node:fs");
    for (let i = 0; i < 20; i++) log.info("x".repeat(100_000));
    closeSync(2);
    openSync(${JSON.stringify(path)}, "w"); // takes the lowest number that is free: 2
    for (let i = 0; i < 3; i++) log.info("line " + i + "x".repeat(100_000));`;
  const said = run(lines, openSync("/dev/full", "w"));
  const written = readFileSync(path, "utf8");
  rmSync(folder, { recursive: true });
  expect(said).toEqual(["alive\n", 0]);
  expect(written.match(/line \d/g)).toEqual(["line 1", "line 2"]); // the first finds no room, and makes it
});

test("what was foreseen is told in words, and a defect behind it keeps its stack", () => {
  const away = new ServingError("UNAVAILABLE", "the queue: no answer", {
    cause: Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" }),
  });
  expect(told(away)).toEqual({ code: "UNAVAILABLE", message: "the queue: no answer", why: "read ECONNRESET" });
  const broken = new ServingError("UNAVAILABLE", "the thread ended", {
    cause: new Error("once more", { cause: new TypeError("x is not a function") }),
  });
  expect(told(broken)).toMatchObject({
    message: "the thread ended",
    cause: { message: "x is not a function", stack: expect.stringContaining("log.test") },
  });
  const circle = new ServingError("UNAVAILABLE", "round");
  circle.cause = new Error("and round", { cause: circle });
  expect(told(circle)).toMatchObject({ message: "round" });
});
