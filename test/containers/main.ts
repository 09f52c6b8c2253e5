import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { told } from "../support/told.ts";
import { absence, compose, PROJECT } from "./engine.ts";

const USAGE = `npm run test:containers -- [--help]

A newcomer's walk through docker compose up --build, with containers killed on the way. Needs Docker with compose 2, and ports 8000, 8001, 9000 and
9001; exits with 3 where there is no engine. Removes what it started, with its volume, but leaves the image longshore:local.`;

told(USAGE, {});

const APIS = ["http://127.0.0.1:8000", "http://127.0.0.1:8001"];
const BUILD_MS = 3_600_000;
const STEP_MS = 300_000;
const PROMPTS = 16;

interface Golden {
  readonly prompt: string;
  readonly answer: string;
}

const goldens = (JSON.parse(readFileSync("deploy/models/yardlog/prompts.json", "utf8")) as Golden[]).slice(0, PROMPTS);
const contentOf = (prompt: string) => /<｜User｜>([\s\S]*)<｜Assistant｜>/.exec(prompt)![1]!;

function ask(api: string, content: string, key?: string): Promise<Response> {
  const headers = { "content-type": "application/json", ...(key === undefined ? {} : { authorization: `Bearer ${key}` }) };
  const body = JSON.stringify({ model: "yardlog", messages: [{ role: "user", content }] });
  return fetch(`${api}/v1/chat/completions`, { method: "POST", headers, body, signal: AbortSignal.timeout(STEP_MS) });
}

async function answered(at: number, { prompt, answer }: Golden, key?: string): Promise<void> {
  const response = await ask(APIS[at % APIS.length]!, contentOf(prompt), key);
  const body = await response.text();
  if (!response.ok) throw new Error(`prompt ${at}: ${response.status} ${body}`);
  const { choices } = JSON.parse(body) as { choices: readonly { message: { content: string } }[] };
  if (choices[0]?.message.content !== answer) throw new Error(`prompt ${at} was answered wrongly: ${body}`);
}

const allAnswered = (key?: string) => Promise.all(goldens.map((golden, at) => answered(at, golden, key)));

/** One of each, as by a crash: what compose kills itself is not restarted. */
async function killed(roles: readonly string[]): Promise<void> {
  for (const role of roles) await compose(["kill", "--signal", "KILL", role], STEP_MS);
  await compose(["up", "--detach", "--no-build", "--wait", "--wait-timeout", "180"], STEP_MS);
}

/** The API learns of a first key within seconds. */
async function refusedWithoutKey(): Promise<void> {
  for (const end = Date.now() + STEP_MS; Date.now() < end; await pause(500)) {
    const statuses = await Promise.all(APIS.map(async (api) => (await ask(api, "no key")).status));
    if (statuses.every((status) => status === 401)) return;
  }
  throw new Error("requests without a key are still taken");
}

async function step<T>(what: string, work: () => Promise<T>): Promise<T> {
  const began = performance.now();
  const result = await work();
  console.log(`ok   ${what}, ${((performance.now() - began) / 1000).toFixed(1)} s`);
  return result;
}

async function walk(): Promise<void> {
  await step("the image is built", () => compose(["build"], BUILD_MS));
  await step("every service becomes healthy", () => compose(["up", "--detach", "--wait", "--wait-timeout", "180"], STEP_MS));
  await step(`${PROMPTS} prompts are answered by two APIs`, () => allAnswered());
  await step("and again, begun as prefill, decode, the record and the cache are killed in turn; all come back", () =>
    Promise.all([allAnswered(), killed(["prefill", "decode", "nats", "redis"])]),
  );
  const line = ["exec", "--no-TTY", "api", "node", "dist/services/cli/main.js", "keys", "create", "walker"];
  const key = (await step("a key is made by the line that README gives", () => compose(line, STEP_MS))).trim();
  await step("requests without a key are refused", refusedWithoutKey);
  await step("down, and up again", async () => {
    await compose(["down"], STEP_MS);
    await compose(["up", "--detach", "--no-build", "--wait", "--wait-timeout", "180"], STEP_MS);
  });
  await step("the record was kept: the key is known", () => allAnswered(key));
}

const missing = await absence();
if (missing !== null) {
  console.error(`test:containers needs Docker with compose 2 and a running engine; nothing was tested. ${missing}`);
  process.exit(3);
}
try {
  await walk();
} catch (error) {
  console.error((error as Error).message);
  console.error(await compose(["logs", "--tail", "5"], STEP_MS).catch(() => ""));
  process.exitCode = 1;
} finally {
  await compose(["down", "--volumes", "--timeout", "20"], STEP_MS).catch((error: Error) =>
    console.error(`${PROJECT} could not be removed: ${error.message}`),
  );
}
