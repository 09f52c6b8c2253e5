import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { expect, test } from "vitest";
import { blocksFrom, freePort, isFree } from "../../../services/cli/cluster/ports.ts";
import { evaluated } from "../../support/program.ts";

const COUNT = 60; // more than a block

const other = `
  import { freePort } from "./services/cli/cluster/ports.ts";
  for (let i = 0; i < ${COUNT}; i++) console.log(await freePort());
  setInterval(() => {}, 1_000);
`;

test("ports are given once, in whatever process, though nobody listens yet, and none that the system gives away", async () => {
  const child = spawn(process.execPath, evaluated(other), { stdio: ["ignore", "pipe", "inherit"] });
  const theirs: number[] = [];
  const ours = Array.from({ length: COUNT }, freePort);
  for await (const line of createInterface(child.stdout)) if (theirs.push(Number(line)) === COUNT) break;
  const all = [...theirs, ...(await Promise.all(ours))];
  expect(new Set(all).size).toBe(2 * COUNT);
  expect(all.every((port) => port >= 20_000 && port < 30_000)).toBe(true);
  expect(await Promise.all(all.map(isFree))).toEqual(all.map(() => true));
  child.kill();
  await once(child, "exit");
});

test("a port on which somebody listens is not given", async () => {
  let next = (await freePort()) + 1;
  while (!(await isFree(next))) next = (await freePort()) + 1; // the first of a block that another process has
  const somebody = createServer().listen(next, "127.0.0.1");
  await once(somebody, "listening");
  expect(await isFree(next)).toBe(false);
  expect(await freePort()).not.toBe(next);
  somebody.close();
});

test("the next process begins with the next block, and goes round: what still asks for a server of the last one finds nobody", () => {
  expect([1, 2, 200].map((pid) => blocksFrom(pid)[0])).toEqual([20_050, 20_100, 20_000]);
  expect(blocksFrom(399).slice(0, 2)).toEqual([29_950, 20_000]);
  expect(blocksFrom(399).toSorted()).toEqual(blocksFrom(0));
  expect(new Set(blocksFrom(0)).size).toBe(200);
});

test("a process that may open nothing more is told so each time, not that all ports are taken", async () => {
  const open = `
    import { openSync, writeSync } from "node:fs";
    import { freePort } from "./services/cli/cluster/ports.ts";
    try { for (;;) openSync("/dev/null"); } catch {}
    for (let i = 0; i < 2; i++) await freePort().catch(({ code }) => writeSync(1, code));
  `;
  const node = [process.execPath, ...evaluated(open)];
  const child = spawn("sh", ["-c", 'ulimit -n 256; exec "$@"', "sh", ...node], { stdio: ["ignore", "pipe", "inherit"] });
  expect((await child.stdout.toArray()).join("")).toBe("EMFILE".repeat(2));
});

test("a process that was given ports ends by itself", async () => {
  const args = evaluated('import { freePort } from "./services/cli/cluster/ports.ts"; await freePort();');
  const [code] = await once(spawn(process.execPath, args, { stdio: "inherit" }), "exit");
  expect(code).toBe(0);
});
