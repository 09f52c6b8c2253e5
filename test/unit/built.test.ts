import { spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isBuiltIn } from "../support/program.ts";

let root: string;
const at = (path: string): string => join(root, path);

/** A repository of two sources, whose compiler runs `compiler`. */
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "longshore-built-"));
  for (const folder of ["bin", "deploy", "services/cli", "proto", "test"]) mkdirSync(at(folder), { recursive: true });
  for (const file of ["services/cli/main.ts", "services/other.ts", "tsconfig.json"]) writeFileSync(at(file), "");
  copyFileSync("deploy/build-services.sh", at("deploy/build-services.sh"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function build(compiler = "true"): number | null {
  const compiled = "mkdir -p dist/services/cli && : > dist/services/cli/main.js";
  writeFileSync(at("bin/npx"), `#!/bin/sh\n${compiler} && ${compiled}\n`);
  chmodSync(at("bin/npx"), 0o755);
  for (const since = statSync(at("bin/npx")).ctimeMs; isTimeOfFiles(since); );
  return spawnSync("/bin/sh", [at("deploy/build-services.sh")], { env: { PATH: `${at("bin")}:/usr/bin:/bin` } }).status;
}

/** Whether a file that is written now has the same time: the clock of files goes in steps. */
function isTimeOfFiles(ms: number): boolean {
  writeFileSync(at("now"), "");
  return statSync(at("now")).mtimeMs <= ms;
}

test("what was built counts until something of it changes, whatever time that bears", () => {
  const changes: Record<string, () => void> = {
    "a source that is saved": () => writeFileSync(at("services/other.ts"), "changed"),
    "a source that comes with its old time": () => {
      writeFileSync(at("services/other.ts"), "changed");
      utimesSync(at("services/other.ts"), 1, 1);
    },
    "the compiler's settings": () => writeFileSync(at("tsconfig.json"), "{}"),
    "a source that goes": () => rmSync(at("services/other.ts")),
  };
  for (const [what, change] of Object.entries(changes)) {
    expect(build()).toBe(0);
    expect(isBuiltIn(root)).toBe(true);
    change();
    expect(isBuiltIn(root), what).toBe(false);
  }
});

test("what is saved while the compiler runs may not be in what it writes", () => {
  expect(build("echo changed > services/other.ts")).toBe(0);
  expect(isBuiltIn(root)).toBe(false);
});

test("a build that failed is none, nor is what a compiler writes alone", () => {
  expect(build("false")).not.toBe(0);
  expect(isBuiltIn(root)).toBe(false);
  build();
  rmSync(at("dist/.built"));
  expect(isBuiltIn(root)).toBe(false);
});
