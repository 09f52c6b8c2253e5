import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { LogFile } from "../../../services/cli/cluster/log-file.ts";
import type { ProcessPlan } from "../../../services/cli/cluster/plan.ts";
import { freePort, isFree } from "../../../services/cli/cluster/ports.ts";
import { inWaves, launch } from "../../../services/cli/cluster/processes.ts";
import type { LaunchOptions, RunningProcess } from "../../../services/cli/cluster/supervised.ts";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import { never } from "../../support/bus.ts";

const folders = mkdtempSync(join(tmpdir(), "longshore-processes-"));
afterAll(() => rmSync(folders, { recursive: true }));
const emptyFolder = (): string => mkdtempSync(join(folders, "one-"));

const listens = (port: number) => `require("node:http").createServer((_, response) => response.end()).listen(${port}, "127.0.0.1")`;

const plan = (name: string, port: number, script = listens(port), after: readonly string[] = []): ProcessPlan => ({
  name: `${name}-1`,
  service: name,
  after,
  program: process.execPath,
  args: ["-e", script],
  env: {},
  probe: { kind: "http", port, path: "/" },
  restarts: true,
  port,
});

const options = (changes: Partial<LaunchOptions> = {}): LaunchOptions => ({
  stateDir: emptyFolder(),
  startMs: 20_000,
  signal: never,
  clock: systemClock,
  env: process.env,
  ...changes,
});

test("what does not need each other starts together, after what both need", () => {
  const [nats, redis, api, decode, page] = [
    plan("nats", 1),
    plan("redis", 2),
    plan("api", 3, "", ["nats", "redis"]),
    plan("decode", 4, "", ["nats"]),
    plan("page", 5, "", ["api"]),
  ];
  expect(inWaves([nats, redis, api, decode, page])).toEqual([[nats, redis], [api, decode], [page]]);
});

test("processes come up, and go when told to", async () => {
  const port = await freePort();
  const started: RunningProcess[] = [];
  const cluster = await launch([plan("store", port)], options({ onStarted: (one) => started.push(one) }));
  expect(started.map(({ plan }) => plan.name)).toEqual(["store-1"]);
  expect(await isFree(port)).toBe(false);
  await cluster.stop();
  expect(await isFree(port)).toBe(true);
});

test("what is said when a process has ended is in its log too, and nothing is told to be lost", async () => {
  const later = "while kill -0 $PARENT 2>/dev/null; do sleep 0.01; done; echo the last word";
  const script = `process.on("SIGTERM", () => {
    require("child_process").spawn("sh", ["-c", ${JSON.stringify(later)}], { stdio: "inherit", env: { PARENT: process.pid, PATH: process.env.PATH } });
    process.exit();
  });`;
  const port = await freePort();
  const lost: string[] = [];
  const settings = options({ onLogLost: ({ plan }) => lost.push(plan.name) });
  const cluster = await launch([plan("store", port, script + listens(port))], settings);
  await cluster.stop();
  await expect.poll(() => readFileSync(join(settings.stateDir, "store-1.log"), "utf8"), { timeout: 20_000 }).toContain("the last word");
  expect(lost).toEqual([]);
});

test("a folder that cannot hold the record is named, with what to do", async () => {
  const stateDir = join(fileURLToPath(import.meta.url), "inside");
  await expect(launch([], options({ stateDir }))).rejects.toThrow(`${stateDir} cannot hold logs and the record`);
});

test("a port that is taken is named, and whoever has it is not taken for ours", async () => {
  const port = await freePort();
  const other = createServer((_, response) => response.end()).listen(port, "127.0.0.1");
  await expect(launch([plan("api", port)], options())).rejects.toThrow(
    `port ${port} of api-1 is taken; stop what listens there, publish another in docker-compose.yml, or start with --free-ports`,
  );
  other.close();
});

test("a folder whose cluster still runs is not shared, one whose cluster died is taken over", async () => {
  const { stateDir } = options();
  const file = join(stateDir, "cluster.pid");
  writeFileSync(file, String(process.ppid));
  const store = plan("store", await freePort());
  await expect(launch([store], options({ stateDir }))).rejects.toThrow(`process ${process.ppid} runs a cluster in ${stateDir}`);
  const { pid } = spawnSync(process.execPath, ["--version"]);
  writeFileSync(file, String(pid));
  await (await launch([store], options({ stateDir }))).stop();
  expect(existsSync(file)).toBe(false);
});

test("a number that is another process's by now holds no folder", async () => {
  const { stateDir } = options();
  const file = join(stateDir, "cluster.pid");
  const written: string[] = [];
  const store = plan("store", await freePort());
  await (await launch([store], options({ stateDir, onStarted: () => written.push(readFileSync(file, "utf8")) }))).stop();
  const [pid, begun] = written[0]!.split(" ");
  expect([Number(pid), begun]).toEqual([process.pid, expect.stringMatching(/^\d+$/)]);
  writeFileSync(file, `${process.ppid} ${Number(begun) + 1}`); // what has the number now began at another time
  await (await launch([store], options({ stateDir }))).stop();
});

test("a log that cannot be written is told once, and costs lines alone", async () => {
  const port = await freePort();
  const given = options();
  symlinkSync("/dev/full", join(given.stateDir, "store-1.log"));
  const lost: string[] = [];
  const chatty = `setInterval(() => console.log("x".repeat(100_000)), 1); ${listens(port)}`;
  const onLogLost = ({ plan }: RunningProcess, { message }: Error) => lost.push(`${plan.name}: ${message}`);
  const cluster = await launch([plan("store", port, chatty)], { ...given, onLogLost });
  await expect.poll(() => lost, { timeout: 20_000 }).toEqual(["store-1: ENOSPC: no space left on device, write"]);
  for (let i = 0; i < 20; i++) expect((await fetch(`http://127.0.0.1:${port}`)).status).toBe(200); // it is not held up by what nobody reads
  expect(lost).toHaveLength(1);
  await cluster.stop();
});

test("a log that is not ours is told too, and what comes later is written where it can be", async () => {
  const folder = emptyFolder();
  const path = join(folder, "later", "x.log");
  const lost: Error[] = [];
  const log = new LogFile(path, (cause) => lost.push(cause));
  const written = (text: string) => new Promise((resolve) => log.write(text, resolve));
  await written("one\n");
  await written("two\n");
  expect(lost).toMatchObject([{ code: "ENOENT" }]);
  mkdirSync(join(folder, "later"));
  await written("three\n");
  log.end();
  expect(readFileSync(path, "utf8")).toBe("three\n");
});

test("a process that ends while it starts ends the start at once; what ran before it is stopped", async () => {
  const port = await freePort();
  const broken = plan("api", await freePort(), "console.log(6 * 7); process.exit(3)", ["store"]);
  await expect(launch([plan("store", port), broken], options())).rejects.toMatchObject({
    code: "UNAVAILABLE",
    message: expect.stringMatching(/^api-1 ended during startup \(exit 3\); its output is in .*api-1\.log\n {2}42$/),
  });
  expect(await isFree(port)).toBe(true);
});

test("a start that fails says what the first that ended said, and whose fault it is", async () => {
  const store = await freePort();
  const gone = `http.get("http://127.0.0.1:${store}").on("error", () => process.exit(1))`;
  const victim = `const http = require("node:http"); console.error("longshore: the store is gone"); setInterval(() => ${gone}, 20)`;
  const dies = `setTimeout(() => { console.error("{}\\nlonghorn\\nlongshore: no such folder;\\n  name another"); process.exit(2); }, 500)`;
  const plans = [plan("store", store, `${listens(store)}; ${dies}`), plan("api", await freePort(), victim, ["store"])];
  await expect(launch(plans, options())).rejects.toMatchObject({
    code: "INVALID_REQUEST",
    message: expect.stringMatching(/^store-1 ended .*\n {2}no such folder;\n {4}name another$/),
  });
});

test.each([
  [
    "throws",
    `throw Object.assign(new Error("no such folder\\n  name another", { cause: new Error("gone") }), { code: "E" })`,
    /^ {2}Error: no such folder\n {4}name another\n {4}code: 'E',\n {4}\[cause\]: Error: gone$/,
  ],
  ["lacks a module", `import("longshore-none")`, /^ {2}Error \[ERR_MODULE_NOT_FOUND\]: Cannot find package 'longshore-none'/],
  ["is written wrongly", "const a = ;", /^ {2}SyntaxError: Unexpected token ';'$/],
  ["drops what it should have caught", "Promise.reject(6 * 7)", /UnhandledPromiseRejection: .* the reason "42"/],
  ["runs out of memory", "for (const a = []; ; ) a.push(new Array(1e6).fill(1.5))", /^ {2}FATAL ERROR: .* heap out of memory$/],
])("of a process that %s while it starts it is told why, in Node's words, not where", async (_, script, why) => {
  const broken = { ...plan("api", await freePort()), args: ["--max-old-space-size=20", "-e", script] };
  const failure: unknown = await launch([broken], options()).catch((error: unknown) => error);
  const [first, ...said] = String((failure as Error).message).split("\n");
  expect(first).toMatch(/^api-1 ended during startup \((exit|signal) \w+\); its output is in .*api-1\.log$/);
  expect(said.join("\n")).toMatch(why);
});

test("a server that is not on this machine is named, with what installs it", async () => {
  const store = { ...plan("store", await freePort()), program: "longshore-none" };
  await expect(launch([store], options())).rejects.toMatchObject({
    code: "UNAVAILABLE",
    message: "store-1: longshore-none was not found; `sh deploy/setup.sh test` installs it",
  });
});

test("a process that ends again and again is started later each time; one that ran well in between, at once", async () => {
  const port = await freePort();
  let ms = 0;
  const pauses: number[] = [];
  const sleep = (delay: number) => {
    if (delay >= 250) pauses.push(delay); // else ours, while it comes up
    return systemClock.sleep(1);
  };
  const clock = { ...systemClock, nowMs: systemClock.nowMs, after: systemClock.after, monotonicMs: () => ms, sleep };
  const cluster = await launch([plan("store", port)], options({ clock }));
  const [store] = cluster.processes;
  const crash = async (ranMs: number) => {
    ms += ranMs;
    const { restarts } = store!;
    process.kill(store!.pid!, "SIGKILL");
    await expect.poll(() => store!.restarts, { timeout: 20_000 }).toBe(restarts + 1);
  };
  for (const ranMs of [0, 0, 0, 59_999, 60_000, 0, 86_400_000]) await crash(ranMs);
  await cluster.stop();
  expect(pauses).toEqual([250, 500, 1_000, 2_000, 250, 500, 250]);
});

test("a start that is given up leaves no process behind", async () => {
  const port = await freePort();
  const stop = new AbortController();
  const silent = plan("api", await freePort(), "setInterval(() => {}, 1000)", ["store"]);
  const starting = launch(
    [plan("store", port), silent],
    options({ signal: stop.signal, onStarted: () => stop.abort(new Error("enough")) }),
  );
  await expect(starting).rejects.toThrow("enough");
  expect(await isFree(port)).toBe(true);
});
