import { execFile } from "node:child_process";
import { accessSync, constants, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { RoleProcess } from "../support/role-process.ts";

const { scripts } = JSON.parse(readFileSync("package.json", "utf8")) as { scripts: Record<string, string> };
/** By the name of its script, each program of ours beside the command line. */
const programs = Object.entries(scripts).flatMap(([name, line]) => {
  const found = /(?:dist\/)?(test\/\S+)\.[jt]s$/.exec(line);
  return found === null ? [] : [[name, `${found[1]}.ts`] as const];
});

const run = (program: string, ...args: string[]): Promise<readonly [code: number, out: string, err: string]> =>
  new Promise((resolve) => {
    execFile(process.execPath, ["--import", "tsx", program, ...args], (error, out, err) => resolve([Number(error?.code ?? 0), out, err]));
  });

test("every script that is told something has a usage", () => {
  expect(programs.map(([name]) => name)).toEqual(["chaos", "chaos:long", "batch:long", "bench", "golden", "bench:record", "sim"]);
  for (const [name, program] of programs) expect(readFileSync(program, "utf8"), name).toContain(`const USAGE = \`npm run ${name} `);
});

test("--help prints it, and so does what was not understood, each with its own exit code", async () => {
  const sim = "test/simulation/main.ts";
  expect(await run(sim, "--help")).toEqual([0, expect.stringMatching(/^npm run sim /), ""]);
  expect(await run(sim, "--seed", "seven")).toEqual([
    2,
    "",
    expect.stringMatching(/^--seed seven: must be a whole number\n\nnpm run sim /),
  ]);
  expect(await run(sim, "4711")).toEqual([2, "", expect.stringMatching(/^4711: one word too many\n\nnpm run sim /)]);
});

test("a test that needs what was not built says what builds it", () => {
  expect(() => RoleProcess.spawn("api", {}, ["dist/none.js"])).toThrow("dist/none.js is missing: run `npm run build:services`");
});

test("the command can be run after each build, not only after the one that npx linked", () => {
  const { bin } = JSON.parse(readFileSync("package.json", "utf8")) as { bin: { longshore: string } };
  expect(() => accessSync(bin.longshore, constants.X_OK)).not.toThrow();
});
