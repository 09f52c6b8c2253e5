import { spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

const setup = resolve("deploy/setup.sh");
const ALL = "g++ cmake make nats-server redis-server";
let bin: string;

/** A machine with Node, a shell and nothing else. */
beforeEach(() => {
  bin = mkdtempSync(join(tmpdir(), "longshore-setup-"));
  symlinkSync(process.execPath, join(bin, "node"));
  for (const tool of ["sh", "dirname", "tr", "chmod"]) symlinkSync(join("/bin", tool), join(bin, tool));
});
afterEach(() => rmSync(bin, { recursive: true, force: true }));

function stub(name: string, script: string): void {
  writeFileSync(join(bin, name), `#!/bin/sh\n${script}\n`);
  chmodSync(join(bin, name), 0o755);
}

const user = (id: number) => stub("id", `echo ${id}`);

/** An apt-get that logs its calls and, on install, creates what it was asked for. */
const aptGet = () =>
  stub(
    "apt-get",
    `echo "$@" >> "${bin}/calls"\n[ "$1" = install ] || exit 0\nfor p in ${ALL}; do case " $* " in *" $p "*) echo '#!/bin/sh' > "${bin}/$p"; chmod 755 "${bin}/$p";; esac; done`,
  );

const calls = () => (existsSync(join(bin, "calls")) ? readFileSync(join(bin, "calls"), "utf8").trim().split("\n") : []);

function run(goal: "tools" | "demo" | "test", script = setup) {
  const { status, stdout, stderr } = spawnSync("/bin/sh", [script, goal], { env: { PATH: bin, SETUP_SBIN: "" }, encoding: "utf8" });
  return { status, output: stdout + stderr };
}

test("as root it installs what is missing, and a second run installs nothing", () => {
  user(0);
  aptGet();
  expect(run("tools")).toMatchObject({ status: 0 });
  expect(calls()).toEqual(["update -qq", `install -y --no-install-recommends ${ALL}`]);
  expect(run("tools")).toMatchObject({ status: 0, output: "" });
  expect(calls()).toHaveLength(2);
});

test("with password-less sudo it installs through sudo", () => {
  user(1000);
  aptGet();
  stub("sudo", '[ "$1" = -n ] && shift; "$@"');
  expect(run("tools")).toMatchObject({ status: 0 });
  expect(calls()).toContain(`install -y --no-install-recommends ${ALL}`);
});

test("without rights it prints the one line to run and exits 3", () => {
  user(1000);
  aptGet();
  const { status, output } = run("tools");
  expect(status).toBe(3);
  expect(output).toContain(`sudo apt-get install -y --no-install-recommends ${ALL}`);
  expect(calls()).toEqual([]);
});

test("the demo asks for no server", () => {
  user(1000);
  aptGet();
  const { status, output } = run("demo");
  expect(status).toBe(3);
  expect(output).toContain("install -y --no-install-recommends g++ cmake make ");
  expect(output).not.toContain("nats-server");
});

test("an installation that fails, and one that brings nothing, end with 3 and say what to do", () => {
  user(0);
  stub("apt-get", '[ "$1" = update ]');
  expect(run("tools")).toMatchObject({ status: 3, output: expect.stringContaining("the distribution could not install them") });
  stub("apt-get", "exit 0");
  expect(run("tools")).toMatchObject({ status: 3, output: expect.stringContaining("still missing after the installation") });
});

test("where there is no apt-get it names the packages", () => {
  user(0);
  expect(run("tools")).toMatchObject({ status: 3, output: expect.stringContaining(`missing: ${ALL}`) });
});

test("packages are installed where they are missing, and not through a link: that would empty what it leads to", () => {
  for (const tool of ["g++", "cmake", "make"]) stub(tool, "");
  stub("npm", `echo "$@" >> "${bin}/calls"`);
  const clone = join(bin, "clone");
  const script = join(clone, "deploy", "setup.sh");
  mkdirSync(join(clone, "deploy"), { recursive: true });
  copyFileSync(setup, script);
  writeFileSync(join(clone, "package-lock.json"), "{}");
  expect(run("demo", script)).toMatchObject({ status: 0 });
  const paths = "run --silent build:kernels";
  expect(calls()).toEqual([expect.stringMatching(/^ci /), `${paths} -- --native`, "run --silent build:services"]);
  mkdirSync(join(clone, "node_modules"));
  writeFileSync(join(clone, "node_modules", ".package-lock.json"), "{}");
  for (const server of ["nats-server", "redis-server"]) stub(server, "");
  expect(run("test", script)).toMatchObject({ status: 0 });
  expect(calls().slice(-2)).toEqual([paths, "run --silent build:services"]);
  rmSync(join(clone, "node_modules"), { recursive: true });
  const before = calls().length;
  mkdirSync(join(bin, "shared"));
  symlinkSync(join(bin, "shared"), join(clone, "node_modules"));
  expect(run("demo", script)).toMatchObject({ status: 3, output: expect.stringContaining("node_modules is a link") });
  expect(calls()).toHaveLength(before);
});

test("kernel paths of this machine alone are built where that is asked for, and not every path was built before", () => {
  for (const tool of ["mkdir", "grep", "rm", "getconf", "cat"]) symlinkSync(join("/usr/bin", tool), join(bin, tool));
  const clone = join(bin, "clone");
  mkdirSync(join(clone, "deploy"), { recursive: true });
  copyFileSync(resolve("deploy/build-kernels.sh"), join(clone, "deploy", "build-kernels.sh"));
  stub("cmake", `echo "$@" >> "${bin}/calls"`);
  const build = (...args: string[]) => {
    const { status } = spawnSync("/bin/sh", [join(clone, "deploy", "build-kernels.sh"), ...args], { env: { PATH: bin } });
    return [status, calls().at(-2)?.split("=").at(-1), calls().at(-1)?.split(" ").slice(4).join(" ")];
  };
  const builtBefore = (paths: string) => {
    mkdirSync(join(clone, "build", "kernels"), { recursive: true });
    writeFileSync(
      join(clone, "build", "kernels", "CMakeCache.txt"),
      `CMAKE_HOME_DIRECTORY:INTERNAL=${clone}/kernels\nLONGSHORE_PATHS:STRING=${paths}\n`,
    );
  };
  expect(build("--native")).toEqual([0, "native", ""]);
  expect(build()).toEqual([0, "all", ""]);
  expect(build("longshore_bench")).toEqual([0, "all", "--target longshore_bench"]);
  builtBefore("native");
  expect(build("--native")).toEqual([0, "native", ""]);
  builtBefore("all");
  expect(build("--native")).toEqual([0, "all", ""]);
});
