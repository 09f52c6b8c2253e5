import { execFile } from "node:child_process";
import { mkdtempSync } from "node:fs";
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
