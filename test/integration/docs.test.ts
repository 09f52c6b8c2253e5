import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Served, serveEmbedded } from "../../services/cli/serve.ts";
import { loadConfig } from "../../services/shared/runtime/config.ts";
import { silentLog } from "../../services/shared/runtime/log.ts";
import { packageRoot } from "../../services/shared/runtime/package-root.ts";

/** Where the documentation says that the API is. */
const TOLD = "http://127.0.0.1:8000";

let cluster: Served;
beforeAll(async () => {
  cluster = await serveEmbedded(loadConfig({ LONGSHORE_PORT: "0" }), silentLog);
});
afterAll(() => cluster.stop());

const page = readFileSync(join(packageRoot(), "docs/api.md"), "utf8");
const examples = [...page.matchAll(/```js\n(.*?)```\n\n```text\n(.*?)```/gs)].map(([, code, printed]) => ({
  code: code!,
  printed: printed!,
}));

test("every example is followed by what it prints", () => {
  expect(examples.length).toBeGreaterThan(2);
  expect(examples).toHaveLength(page.split("```js\n").length - 1);
});

test.each(examples)("docs/api.md, example %#", async ({ code, printed }) => {
  expect(code).toContain(TOLD);
  const node = spawn(process.execPath, ["--input-type=module", "-"], { cwd: packageRoot(), stdio: ["pipe", "pipe", "pipe"] });
  node.stdin.end(code.replaceAll(TOLD, cluster.api.url));
  const [out, trouble, [exit]] = await Promise.all([text(node.stdout), text(node.stderr), once(node, "exit")]);
  expect([exit, trouble, out.trim()]).toEqual([0, "", printed.trim()]);
});
