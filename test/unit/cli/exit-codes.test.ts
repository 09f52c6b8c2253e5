import { execFile } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { freePort } from "../../../services/cli/cluster/probe.ts";
import { fromSources } from "../../support/role-process.ts";

const longshore = (args: readonly string[], env: Record<string, string> = {}): Promise<readonly [code: number, said: string]> =>
  new Promise((resolve) => {
    const settings = { env: { ...process.env, ...env } };
    execFile(process.execPath, [...fromSources, ...args], settings, (error, _, said) => resolve([Number(error?.code ?? 0), said]));
  });

const empty = mkdtempSync(join(tmpdir(), "longshore-exit-"));
test.each([
  ["a folder that holds no checkpoint", 2, /config\.json/, () => longshore(["inspect", empty])],
  ["a model's folder that is none", 2, /LONGSHORE_MODEL_PATH/, () => longshore(["up"], { LONGSHORE_MODEL_PATH: empty })],
  ["a kernel path that there is not", 2, /no kernel path abacus/, () => longshore(["up"], { LONGSHORE_KERNEL_PATH: "abacus" })],
  [
    "an API that does not answer",
    1,
    /no longshore answers/,
    async () => longshore(["--url", `http://127.0.0.1:${await freePort()}`, "jobs"]),
  ],
])("a command says by its exit code whether to try again: %s", async (_, code, words, run) => {
  expect(await run()).toEqual([code, expect.stringMatching(words)]);
});

test("a file that changes while it is sent is the command line's fault, on every Node", async () => {
  const input = join(mkdtempSync(join(tmpdir(), "longshore-exit-")), "in.jsonl");
  writeFileSync(input, '{"url":"/v1/chat/completions"}\n');
  truncateSync(input, 128_000_000); // more than a connection takes at once: its end is read only after it changed
  const server = createServer((request) => {
    appendFileSync(input, "\n");
    request.resume();
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  expect(await longshore(["--url", url, "batch", input, "-o", `${input}.out`])).toEqual([
    2,
    `longshore: ${input} was changed while it was sent; nothing is begun\n`,
  ]);
  server.close();
  rmSync(join(input, ".."), { recursive: true });
});
