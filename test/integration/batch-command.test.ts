import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import OpenAI from "openai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Served, serveEmbedded } from "../../services/cli/serve.ts";
import { loadConfig } from "../../services/shared/runtime/config.ts";
import { silentLog } from "../../services/shared/runtime/log.ts";
import { batchUntil, chatLine, jsonLines, type OutputLine } from "../support/batches.ts";
import { commandLine } from "../support/role-process.ts";
import { stepwise } from "../support/stepwise.ts";

let cluster: Served;
let folder: string;
let allow: (steps: number) => void;
beforeAll(async () => {
  const settings = { LONGSHORE_ENGINE: "weightless", LONGSHORE_PORT: "0", LONGSHORE_BATCH_LINES: "8", LONGSHORE_CLAIM_MS: "40000" };
  cluster = await serveEmbedded(loadConfig(settings), silentLog);
  allow = stepwise(cluster.cluster.opened.engine);
  folder = mkdtempSync(join(tmpdir(), "longshore-batch-"));
});
afterAll(async () => {
  await cluster.stop();
  rmSync(folder, { recursive: true, force: true });
});

function command(...args: readonly string[]) {
  const child = spawn(process.execPath, commandLine("--url", cluster.api.url, "batch", ...args), {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const said = { out: "", err: "" };
  child.stdout.on("data", (text: Buffer) => {
    said.out += text;
  });
  child.stderr.on("data", (text: Buffer) => {
    said.err += text;
  });
  return { child, said, exited: once(child, "exit").then(([code]) => code as number | null) };
}

const file = (name: string, lines: readonly (object | string)[]) => {
  const path = join(folder, name);
  writeFileSync(path, jsonLines(lines));
  return path;
};
const idsIn = (path: string) =>
  readFileSync(path, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => (JSON.parse(line) as OutputLine).custom_id);

test("a batch that is watched, left with Ctrl-C, and watched again is one batch, and its answers are there", async () => {
  const lines = Array.from({ length: 60 }, (_, i) => chatLine(`line ${i}`, `Crate ${i}`, { seed: i, max_tokens: 20 }));
  const input = file("in.jsonl", [...lines, chatLine("bad", "", { temperature: 9 })]);
  const output = join(folder, "out.jsonl");
  allow(0);
  const first = command(input, "-o", output);
  await new Promise<void>((resolve) => first.child.stderr.on("data", () => /of 61 lines/.test(first.said.err) && resolve()));
  first.child.kill("SIGINT");
  expect(await first.exited).toBe(130);
  expect(first.said.err).toContain("goes on; run the same command again");
  expect(existsSync(output)).toBe(false);
  const [id] = /batch_[0-9a-z]{20}/.exec(first.said.err)!;

  allow(Number.POSITIVE_INFINITY);
  const second = command(input, "-o", output);
  expect(await second.exited, second.said.err).toBe(1); // a line failed
  expect(second.said.err).toContain(`${id} completed: 60 of 61 lines answered in ${output}, 1 not`);
  expect(idsIn(output).toSorted()).toEqual(lines.map(({ custom_id }) => custom_id).toSorted());
  expect(idsIn(`${output}.errors`)).toEqual(["bad"]);
  expect(existsSync(`${output}.batch`)).toBe(false);

  const third = command(input, "-o", output);
  expect([await third.exited, third.said.err.includes(`${output} exists`)]).toEqual([2, true]);
});

test("a file with lines at fault: each is named, nothing is run", async () => {
  const input = file("wrong.jsonl", [chatLine("a", "1"), "{", chatLine("a", "2")]);
  const { exited, said } = command(input, "-o", join(folder, "wrong.out"));
  expect(await exited).toBe(2);
  expect(said.err).toContain("line 2: this line is not a JSON object in UTF-8 (invalid_json_line)");
  expect(said.err).toContain("line 3: custom_id: a is already used in an earlier line (duplicate_custom_id)");
  expect(said.err).toContain("failed: no line was run");
});

test("a file that no batch can be made of is refused, and the mended one is taken", async () => {
  const output = join(folder, "mended.out");
  const refused = command(file("mended.jsonl", [{ ...chatLine("a", "1"), url: "/v1/embeddings" }]), "-o", output);
  expect([await refused.exited, refused.said.err.includes("endpoint: only /v1/chat/completions")]).toEqual([2, true]);
  const taken = command(file("mended.jsonl", [chatLine("a", "1")]), "-o", output);
  expect(await taken.exited, taken.said.err).toBe(0);
  expect(idsIn(output)).toEqual(["a"]);
});

test("--detach leaves the batch running, --cancel ends it and fetches what there is", async () => {
  const input = file(
    "long.jsonl",
    Array.from({ length: 200 }, (_, i) => chatLine(`line ${i}`, `Crate ${i}`, { seed: i, max_tokens: 40 })),
  );
  const output = join(folder, "long.out");
  allow(60); // of up to 8 lines each, of which a line takes 39
  const begun = command(input, "-o", output, "--detach");
  expect(await begun.exited, begun.said.err).toBe(0);
  const id = begun.said.out.trim();
  const client = new OpenAI({ baseURL: `${cluster.api.url}/v1`, apiKey: "none", maxRetries: 0 });
  await batchUntil(client, id, ({ request_counts }) => request_counts!.completed > 0);
  const cancelled = command(input, "-o", output, "--cancel");
  await batchUntil(client, id, ({ request_counts }) => {
    allow(1); // for those at work to hear of it
    return request_counts!.failed > 0;
  });
  allow(Number.POSITIVE_INFINITY);
  expect(await cancelled.exited).toBe(1);
  expect(cancelled.said.err).toContain(`${id} cancelled`);
  const [answered, missed] = [idsIn(output), idsIn(`${output}.errors`)];
  expect(answered.length).toBeGreaterThan(0);
  expect(missed.length).toBeGreaterThan(0);
  expect(new Set([...answered, ...missed]).size).toBe(200);
  expect(answered.length + missed.length).toBe(200);
});
