import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { evaluated } from "../support/program.ts";

const folder = mkdtempSync(join(tmpdir(), "longshore-leash-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What tests start, one server of it stopped, and what a local cluster starts. It says "up" and waits. */
const runner = `
  import { freePort } from "./services/cli/cluster/ports.ts";
  import { launch } from "./services/cli/cluster/processes.ts";
  import { systemClock } from "./services/shared/runtime/clock.ts";
  import { NatsServer } from "./test/support/nats.ts";
  import { startRedis } from "./test/support/redis.ts";
  import { RoleProcess } from "./test/support/role-process.ts";
  const [nats, redis] = await Promise.all([NatsServer.start(), startRedis()]);
  await RoleProcess.start("prefill", { LONGSHORE_NATS_URL: nats.url, LONGSHORE_REDIS_URL: redis.url, LONGSHORE_ENGINE: "weightless" });
  await redis.pause();
  const port = await freePort();
  const listens = 'require("node:http").createServer((_, response) => response.end()).listen(' + port + ', "127.0.0.1")';
  const program = { program: process.execPath, args: ["-e", listens], env: {}, probe: { kind: "http", port, path: "/" }, port };
  const plan = { name: "page-1", service: "page", after: [], restarts: true, ...program };
  const signal = new AbortController().signal;
  await launch([plan], { stateDir: process.env.TMPDIR, startMs: 20_000, signal, clock: systemClock, env: process.env });
  console.log("up");
`;

test.each(["SIGKILL", "SIGINT"] as const)("nothing that tests or a local cluster have started outlives them: %s", async (signal) => {
  const child = spawn(process.execPath, evaluated(runner), {
    stdio: ["ignore", "pipe", "inherit"],
    detached: true,
    env: { ...process.env, TMPDIR: folder },
  });
  await Promise.race([once(child.stdout, "data"), once(child, "exit")]);
  const family = descendants(child.pid!);
  expect(family.length).toBeGreaterThanOrEqual(8); // four programs and the watcher of each
  // Ctrl-C reaches the whole group, kill -9 the runner alone.
  process.kill(signal === "SIGINT" ? -child.pid! : child.pid!, signal);
  await once(child, "exit");
  await expect.poll(() => alive().filter(({ pid }) => family.includes(pid)), { timeout: 20_000 }).toEqual([]);
});

/** Processes that have not ended: what nobody has asked how it ended is listed too. */
function alive(): { readonly pid: number; readonly parent: number; readonly command: string }[] {
  const lines = execFileSync("ps", ["-A", "-o", "pid=,ppid=,stat=,comm="], { encoding: "utf8" }).trim().split("\n");
  return lines
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , state]) => !state!.startsWith("Z"))
    .map(([pid, parent, , command]) => ({ pid: Number(pid), parent: Number(parent), command: command! }));
}

function descendants(root: number): number[] {
  const all = alive();
  const below = (pid: number): number[] => all.filter(({ parent }) => parent === pid).flatMap((child) => [child.pid, ...below(child.pid)]);
  return below(root);
}
