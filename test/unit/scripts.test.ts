import { execFile } from "node:child_process";
import { accessSync, constants, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { program } from "../support/program.ts";

const { scripts } = JSON.parse(readFileSync("package.json", "utf8")) as { scripts: Record<string, string> };
/** By the name of its script, each program of ours beside the command line. */
const programs = Object.entries(scripts).flatMap(([name, line]) => {
  const found = /(?:dist\/)?(test\/\S+)\.[jt]s$/.exec(line);
  return found === null ? [] : [[name, `${found[1]}.ts`] as const];
});

const run = (source: string, ...args: string[]): Promise<readonly [code: number, out: string, err: string]> =>
  new Promise((resolve) => {
    execFile(process.execPath, [...program(source), ...args], (error, out, err) => resolve([Number(error?.code ?? 0), out, err]));
  });

test("every script that is told something has a usage", () => {
  expect(programs.map(([name]) => name)).toEqual([
    "chaos",
    "chaos:long",
    "batch:long",
    "bench",
    "golden",
    "test:containers",
    "bench:record",
    "sim",
  ]);
  for (const [name, source] of programs) expect(readFileSync(source, "utf8"), name).toContain(`const USAGE = \`npm run ${name} `);
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

test("the command can be run after each build, not only after the one that npx linked", () => {
  const { bin } = JSON.parse(readFileSync("package.json", "utf8")) as { bin: { longshore: string } };
  expect(() => accessSync(bin.longshore, constants.X_OK)).not.toThrow();
});
