import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, closeSync, mkdtempSync, openSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import type { RequestListener } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, expect, test } from "vitest";
import { freePort } from "../../../services/cli/cluster/ports.ts";
import { against } from "../../support/against.ts";
import { until } from "../../support/bus.ts";
import { commandLine } from "../../support/role-process.ts";

const longshore = (args: readonly string[], env: Record<string, string> = {}): Promise<readonly [code: number, said: string]> =>
  new Promise((resolve) => {
    const settings = { env: { ...process.env, ...env } };
    execFile(process.execPath, commandLine(...args), settings, (error, _, said) => resolve([Number(error?.code ?? 0), said]));
  });

const empty = mkdtempSync(join(tmpdir(), "longshore-exit-"));
afterAll(() => rmSync(empty, { recursive: true }));
test.each([
  ["a folder that holds no checkpoint", 2, /config\.json/, () => longshore(["inspect", empty])],
  ["a model's folder that is none", 2, /LONGSHORE_MODEL_PATH/, () => longshore(["up"], { LONGSHORE_MODEL_PATH: empty })],
  ["a kernel path that there is not", 2, /no kernel path abacus/, () => longshore(["up"], { LONGSHORE_KERNEL_PATH: "abacus" })],
  ["a folder for what is not kept", 2, /--state goes with --cluster/, () => longshore(["up", "--state", "state"])],
  [
    "ports that a local cluster does not take",
    2,
    /unset LONGSHORE_PORT; .* --free-ports/,
    () => longshore(["up", "--cluster"], { LONGSHORE_PORT: "18200" }),
  ],
  ["a door that no key opens", 2, /LONGSHORE_API_KEYS/, () => longshore(["up"], { LONGSHORE_REQUIRE_KEYS: "yes" })],
  ["an output without a name", 2, /must not be empty/, () => longshore(["batch", "in.jsonl", "-o", ""])],
  [
    "an API that does not answer",
    1,
    /no longshore answers at \S+ \(ECONNREFUSED\)/,
    async () => longshore(["--url", `http://127.0.0.1:${await freePort()}`, "jobs"]),
  ],
  [
    "a record whose server is not there",
    1,
    /^longshore: NATS at 127\.0\.0\.1:\d+ does not answer \(connection refused\); start nats-server there, or correct LONGSHORE_NATS_URL\n$/,
    async () => longshore(["keys", "list"], { LONGSHORE_NATS_URL: `nats://127.0.0.1:${await freePort()}` }),
  ],
])("a command says by its exit code whether to try again: %s", async (_, code, words, run) => {
  expect(await run()).toEqual([code, expect.stringMatching(words)]);
});

test("a gRPC port that is taken is said in a sentence of ours, and nothing in a library's", async () => {
  await against(
    () => {},
    async (url) => {
      const { port } = new URL(url);
      const env = { LONGSHORE_ENGINE: "weightless", LONGSHORE_PORT: "0", LONGSHORE_GRPC_PORT: port, LONGSHORE_LOG_LEVEL: "error" };
      const sentence = `longshore: cannot listen at 127.0.0.1:${port} (EADDRINUSE); set LONGSHORE_GRPC_PORT or LONGSHORE_HOST\n`;
      expect(await longshore(["up"], env)).toEqual([1, sentence]);
    },
  );
});

test("the roles that a process is told to run are listed", async () => {
  const { stdout } = await promisify(execFile)(process.execPath, commandLine("--help"));
  expect(stdout).toMatch(/Roles.*:\n +api .*\n +prefill .*\n +decode .*\n +batch-coordinator .*\n/);
});

test("a file that changes while it is sent is the command line's fault, on every Node", async () => {
  const input = join(mkdtempSync(join(tmpdir(), "longshore-exit-")), "in.jsonl");
  writeFileSync(input, '{"url":"/v1/chat/completions"}\n');
  truncateSync(input, 128_000_000); // more than a connection takes at once: its end is read only after it changed
  const ended = await against(
    (request) => {
      appendFileSync(input, "\n");
      request.resume();
    },
    (url) => longshore(["--url", url, "batch", input, "-o", `${input}.out`]),
  );
  expect(ended).toEqual([2, `longshore: ${input} changed while it was being sent; nothing was started\n`]);
  rmSync(join(input, ".."), { recursive: true });
});

/** An API with one job: half of its prompt is done, and then, unless it `stays` so, it is answered. */
const jobApi =
  (stays: boolean): RequestListener =>
  ({ url }, response) => {
    if (!url!.includes("/events")) response.end('{"prompt_tokens":2,"output_tokens":1,"result":{"choices":[{"text":"red"}]},"error":null}');
    else if (stays) response.write('event: progress\ndata: {"done":1,"total":2}\n\n');
    else response.end('event: progress\ndata: {"done":1,"total":2}\n\nevent: finished\ndata: {}\n\n');
  };

/** A command whose output and messages go to these, or are read. */
function spawned(args: readonly string[], out: number | "pipe", err: number | "pipe") {
  const child = spawn(process.execPath, commandLine(...args), { stdio: ["ignore", out, err] });
  const said = { out: "", err: "" };
  child.stdout?.on("data", (text: Buffer) => {
    said.out += text;
  });
  child.stderr?.on("data", (text: Buffer) => {
    said.err += text;
  });
  return { child, said, closed: once(child, "close").then(([code]) => code as number | null) };
}

test("output that cannot be written is a failure, said in a line; messages that cannot are none", async () => {
  const full = openSync("/dev/full", "w");
  const unwritten = spawned(["config"], full, "pipe");
  expect([await unwritten.closed, unwritten.said.err]).toEqual([1, "longshore: the output cannot be written (ENOSPC)\n"]);
  await against(jobApi(false), async (url) => {
    const answered = spawned(["--url", url, "answer", "job_1"], "pipe", full);
    expect([await answered.closed, answered.said.out]).toEqual([0, "red\n"]);
  });
  closeSync(full);
});

test("Ctrl-C leaves a job that is watched, and says how to come back to it", async () => {
  await against(jobApi(true), async (url) => {
    const { child, said, closed } = spawned(["--url", url, "answer", "job_1"], "pipe", "pipe");
    await new Promise<void>((resolve) => child.stderr!.on("data", () => said.err.includes("50 %") && resolve()));
    child.kill("SIGINT");
    expect(await closed).toBe(130);
    expect(said.err).toContain("\njob_1 goes on; `longshore answer job_1` waits for its answer, `longshore cancel job_1` cancels it\n");
  });
});

/** An API with a batch that has ended, whose answers do not end. */
const batchApi: RequestListener = (request, response) => {
  request.resume();
  const request_counts = { total: 1, completed: 1, failed: 0 };
  const batch = { id: "batch_1", status: "completed", request_counts, output_file_id: "file-2", error_file_id: null, errors: null };
  if (request.url!.endsWith("/content")) response.write("an answer, ");
  else response.end(JSON.stringify(request.url === "/v1/files" ? { id: "file-1" } : batch));
};

test("Ctrl-C amid a download leaves nothing of it, but the note that finds it again, and says so", async () => {
  const folder = mkdtempSync(join(tmpdir(), "longshore-exit-"));
  const input = join(folder, "in.jsonl");
  writeFileSync(input, '{"url":"/v1/chat/completions"}\n');
  await against(batchApi, async (url) => {
    const { child, said, closed } = spawned(["--url", url, "batch", input, "-o", join(folder, "out")], "pipe", "pipe");
    await until(() => readdirSync(folder).some((name) => /^out\.[^.]+\.part$/.test(name) && statSync(join(folder, name)).size > 0));
    child.kill("SIGINT");
    expect(await closed).toBe(130);
    expect(said.err).toContain(`${join(folder, "out")} is not there yet; the same command again fetches it\n`);
  });
  expect(readdirSync(folder).sort()).toEqual(["in.jsonl", "out.batch"]);
  rmSync(folder, { recursive: true });
});
