import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text as textOf } from "node:stream/consumers";
import { afterAll, afterEach, beforeAll, beforeEach, expect, type MockInstance, test, vi } from "vitest";
import { openClient } from "../../../services/cli/client.ts";
import { freePort } from "../../../services/cli/cluster/ports.ts";
import { cancel } from "../../../services/cli/commands/jobs.ts";
import { printAnswer, submitFile } from "../../../services/cli/commands/submit.ts";
import { type Served, serveEmbedded } from "../../../services/cli/serve.ts";
import { loadConfig } from "../../../services/shared/runtime/config.ts";
import { silentLog } from "../../../services/shared/runtime/log.ts";
import { against } from "../../support/against.ts";

let cluster: Served;
let folder: string;
let out: MockInstance<typeof console.log>;
let said: MockInstance<typeof console.error>;
beforeAll(async () => {
  const settings = { LONGSHORE_ENGINE: "weightless", LONGSHORE_WEIGHTLESS_STEP_MS: "5", LONGSHORE_PORT: "0" };
  cluster = await serveEmbedded(loadConfig(settings), silentLog);
  folder = mkdtempSync(join(tmpdir(), "longshore-submit-"));
});
afterAll(async () => {
  await cluster.stop();
  rmSync(folder, { recursive: true, force: true });
});
beforeEach(() => {
  out = vi.spyOn(console, "log").mockImplementation(() => {});
  said = vi.spyOn(console, "error").mockImplementation(() => {});
});
afterEach(() => vi.restoreAllMocks());

const client = () => openClient(cluster.api.url, undefined);
const request = (maxTokens: number): string => {
  const path = join(folder, `request-${maxTokens}.json`);
  writeFileSync(path, JSON.stringify({ prompt: "Where is crate 7?", seed: 7, max_tokens: maxTokens }));
  return path;
};
const printed = () => out.mock.calls.map(([text]) => text as string);

test("a job that is left running has the answer, printed once or again, that is printed where it is waited for", async () => {
  await submitFile(client(), request(20), {});
  await submitFile(client(), request(20), { detach: true });
  const [answer, id] = printed();
  expect(id).toMatch(/^job_/);
  await printAnswer(client(), id!);
  await printAnswer(client(), id!);
  expect(printed().slice(2)).toEqual([answer, answer]);
  expect(answer).not.toBe("");
  expect(said.mock.calls.at(-1)![0]).toMatch(new RegExp(`^${id}: [1-9]\\d* prompt tokens, \\d+ of them from cache; 20 tokens answered$`));
});

test("a request file may begin with a mark of byte order; what is no text is not sent", async () => {
  const path = request(20);
  writeFileSync(path, `\ufeff${readFileSync(path, "utf8")}`);
  await submitFile(client(), path, {});
  expect(printed()).toHaveLength(1);
  writeFileSync(join(folder, "report.pdf"), Buffer.from("%PDF-1.7\n%\xe2\xe3\xcf\xd3", "latin1"));
  const refused = submitFile(client(), join(folder, "report.pdf"), {});
  await expect(refused).rejects.toMatchObject({ code: "INVALID_REQUEST", message: expect.stringContaining("not text in UTF-8") });
});

test("a file without text asks nothing, unless a question goes with it", async () => {
  const path = join(folder, "empty.txt");
  writeFileSync(path, "\n");
  await expect(submitFile(client(), path, {})).rejects.toMatchObject({ code: "INVALID_REQUEST", message: `${path} holds no text` });
  await submitFile(client(), path, { question: "Where is crate 7?", detach: true });
  expect(printed()).toHaveLength(1);
});

/** An API that answers submissions like these, one after the other; resolves to what it was sent. */
async function submissions(...answers: readonly ((response: ServerResponse) => void)[]) {
  const sent: { key: unknown; body: string }[] = [];
  const ended = await against(
    async (asked, response) => {
      if (asked.method === "GET") return response.end('{"data":[{"id":"yardlog"}]}');
      sent.push({ key: asked.headers["idempotency-key"], body: await textOf(asked) });
      return answers[sent.length - 1]!(response);
    },
    (url) => submitFile(openClient(url, undefined), request(20), { detach: true }).catch((error: Error) => error.message),
  );
  return { sent, ended };
}

test("a submission whose answer did not come is sent again as the same one, and that is said", async () => {
  const { sent } = await submissions(
    (response) => response.destroy(),
    (response) => response.writeHead(503).end('{"error":{"message":"no record"}}'),
    (response) => response.end('{"id":"job_1"}'),
  );
  expect(sent).toHaveLength(3);
  expect(sent[0]!.key).toMatch(/^cli_/);
  expect(sent).toEqual([sent[0], sent[0], sent[0]]);
  expect(printed()).toEqual(["job_1"]);
  expect(said.mock.calls.flat()).toEqual([
    expect.stringMatching(/^no answer from .*, trying again$/),
    expect.stringMatching(/ answers again$/),
  ]);
});

test("a busy cluster's refusal is handed on at once", async () => {
  const { sent, ended } = await submissions((response) => response.writeHead(429).end('{"error":{"message":"too much"}}'));
  expect([sent.length, ended, said.mock.calls]).toEqual([1, "too much", []]);
});

test("a job that has no answer says why, and one that is unknown that it is", async () => {
  await submitFile(client(), request(2_000), { detach: true });
  const [id] = printed();
  await cancel(client(), id!);
  await expect(printAnswer(client(), id!)).rejects.toMatchObject({ message: expect.stringContaining("cancel") });
  await expect(printAnswer(client(), "job_unknown")).rejects.toMatchObject({ code: "NOT_FOUND" });
  const nobody = openClient(`http://127.0.0.1:${await freePort()}`, undefined);
  await expect(printAnswer(nobody, id!)).rejects.toMatchObject({ code: "UNAVAILABLE" });
});
