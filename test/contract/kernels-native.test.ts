import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const run = promisify(execFile);
const build = join(import.meta.dirname, "../../build/kernels");

test("the C++ test passes: formats by every code, the pool's threads, damaged calls", { timeout: 300_000 }, async () => {
  await run("cmake", ["--build", build, "--target", "longshore_test"]);
  const { stdout } = await run(join(build, "longshore_test"), [join(build, "liblongshore_cpu.so")]);
  expect(stdout).toMatch(/formats: every code/);
  expect(stdout).toMatch(/threads: every piece once/);
  expect(stdout).toMatch(/path reference, 3 threads: \d+ valid calls ran/);
});
