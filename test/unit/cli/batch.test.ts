import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { writeTicket } from "../../../services/cli/batch/ticket.ts";
import type { Client } from "../../../services/cli/client.ts";
import { batch } from "../../../services/cli/commands/batch.ts";
import { ServingError } from "../../../services/shared/runtime/errors.ts";

let folder: string;
let input: string;
let output: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "longshore-batch-"));
  input = join(folder, "in.jsonl");
  output = join(folder, "out.jsonl");
  writeFileSync(input, '{"url":"/v1/chat/completions"}\n');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A server that takes a batch, and then answers every question about it like this. */
const answering = (thrown: ServingError): Client =>
  ({
    send: async () => ({ id: "file-1" }),
    post: async () => ({ id: "batch_1" }),
    get: () => Promise.reject(thrown),
  }) as unknown as Client;
const untouched = {} as Client;

test.each(["out.jsonl", "out.jsonl.errors"])("what an earlier batch left in %s is not taken for this one's", async (name) => {
  writeFileSync(join(folder, name), "");
  const refused = batch(untouched, input, { output });
  await expect(refused).rejects.toMatchObject({ code: "INVALID_REQUEST", message: expect.stringContaining(`${name} exists`) });
});

test("nothing is sent where it could not be written down", async () => {
  const refused = batch(untouched, input, { output: join(folder, "none", "out.jsonl") });
  await expect(refused).rejects.toMatchObject({ code: "INVALID_REQUEST", message: expect.stringContaining("cannot be written") });
});

test("what was begun and cannot be read is not taken for nothing: another batch would be run and paid for", async () => {
  mkdirSync(`${output}.batch`);
  for (const cancel of [false, true])
    await expect(batch(untouched, input, { output, cancel })).rejects.toMatchObject({
      code: "INVALID_REQUEST",
      message: `${output}.batch, which says what was begun, cannot be read (EISDIR)`,
    });
});

test.each([
  ["", "has no lines"],
  ["\n \r\n", "has no lines"],
  ['{"body":{}}\n', "first line has no url"],
  ["yard\n", "first line is not JSON"],
])("%j is no input: that is said, and nothing is begun", async (text, why) => {
  writeFileSync(input, text);
  await expect(batch(untouched, input, { output })).rejects.toMatchObject({
    code: "INVALID_REQUEST",
    message: expect.stringContaining(why),
  });
  expect(existsSync(`${output}.batch`)).toBe(false);
});

test("nothing stays of a note that cannot be put where it belongs", async () => {
  mkdirSync(`${output}.batch`);
  const refused = writeTicket(`${output}.batch`, { digest: "", key: "cli_1" });
  await expect(refused).rejects.toMatchObject({ message: expect.stringContaining("cannot be written") });
  expect(readdirSync(folder).sort()).toEqual(["in.jsonl", "out.jsonl.batch"]);
});

const LINE = '{"url":"/v1/chat/completions"}\n';
const LARGE = LINE.repeat(10_000);

/** What of the file reaches a server, when this happens to it meanwhile. */
async function sentWhile(happens: () => void): Promise<string> {
  writeFileSync(input, LARGE);
  let sent = "";
  const send: Client["send"] = async (_path, _fields, { bytes, content }) => {
    expect(bytes).toBe(LARGE.length);
    for await (const chunk of content) {
      if (sent === "") happens();
      sent += Buffer.from(chunk).toString();
      expect(sent.length).toBeLessThanOrEqual(bytes);
    }
    return { id: "file-1" };
  };
  const printed = vi.spyOn(console, "log").mockImplementation(() => {});
  await batch({ send, post: async () => ({ id: "batch_1" }) } as unknown as Client, input, { output, detach: true }).finally(() =>
    printed.mockRestore(),
  );
  return sent;
}

test.each([
  ["longer", () => appendFileSync(input, LINE)],
  ["much longer", () => appendFileSync(input, LARGE)],
  ["shorter", () => truncateSync(input, LARGE.length - LINE.length)],
  ["empty", () => truncateSync(input)],
  ["another of this length", () => writeFileSync(input, LARGE.replace(/}\n$/, "]\n"))],
])("a file that becomes %s while it is sent is refused, and no batch is made of it", async (_, happens) => {
  const message = `${input} changed while it was being sent; nothing was started`;
  await expect(sentWhile(happens)).rejects.toMatchObject({ code: "INVALID_REQUEST", message });
});

test.each([
  ["touched", () => utimesSync(input, 0, 0)],
  ["removed", () => rmSync(input)],
])("a file that is %s while it is sent is sent as it was", async (_, happens) => {
  expect(await sentWhile(happens)).toBe(LARGE);
});

test.each([
  ["is not there", "ENOENT", () => join(folder, "none.jsonl")],
  ["is a folder", "EISDIR", () => folder],
])("a file that %s is named", async (_, code, path) => {
  const refused = batch(untouched, path(), { output });
  await expect(refused).rejects.toMatchObject({ code: "INVALID_REQUEST", message: `${path()} cannot be read (${code})` });
});

test("what can be read only once is no input", async () => {
  const refused = batch(untouched, "/dev/null", { output });
  await expect(refused).rejects.toMatchObject({ code: "INVALID_REQUEST", message: expect.stringContaining("write its lines to a file") });
});

/** A server at which a batch has ended, whose answers are read like this. */
const ended = (read: Client["read"], more: object = {}): Client => {
  const batch = {
    id: "batch_1",
    status: "completed",
    output_file_id: "file-2",
    error_file_id: null,
    request_counts: { total: 1, completed: 1, failed: 0 },
    errors: null,
    usage: { input_tokens: 1, input_tokens_details: { cached_tokens: 0 }, output_tokens: 1 },
    ...more,
  };
  return {
    send: async () => ({ id: "file-1" }),
    post: async () => ({ id: "batch_1" }),
    get: async () => batch,
    read,
  } as unknown as Client;
};

test("answers are fetched anew where their replica breaks off", async () => {
  let reads = 0;
  const client = ended(async function* () {
    yield Buffer.from("an answer, ");
    if (++reads === 1) throw new ServingError("UNAVAILABLE", "the connection broke");
    yield Buffer.from("whole");
  });
  const said = vi.spyOn(console, "error").mockImplementation(() => {});
  await batch(client, input, { output });
  said.mockRestore();
  expect(readFileSync(output, "utf8")).toBe("an answer, whole");
});

test("a batch that failed midway: its answers are fetched, how many there are is said, and it is a failure", async () => {
  const failed = {
    status: "failed",
    errors: { data: [{ code: "file_not_found", message: "the input file is gone", line: null }] },
    request_counts: { total: 9, completed: 5, failed: 0 },
  };
  const client = ended(async function* () {
    yield Buffer.from("five answers");
  }, failed);
  const lines: string[] = [];
  const said = vi.spyOn(console, "error").mockImplementation((line: string) => lines.push(line));
  const run = batch(client, input, { output });
  await expect(run).rejects.toMatchObject({ code: "INVALID_REQUEST", message: "batch_1 failed" });
  said.mockRestore();
  process.exitCode = undefined;
  expect(lines[0]).toBe("file: the input file is gone (file_not_found)");
  expect(lines[1]).toContain(`batch_1 failed: 5 of 9 lines answered in ${output}`);
  expect(readFileSync(output, "utf8")).toBe("five answers");
});

test("answers that cannot be written are fetched by the same command once they can", async () => {
  const client = ended(async function* () {
    if (!existsSync(output)) mkdirSync(output); // where they are to go
    yield Buffer.from("an answer");
  });
  const said = vi.spyOn(console, "error").mockImplementation(() => {});
  await expect(batch(client, input, { output })).rejects.toMatchObject({
    code: "UNAVAILABLE",
    message: `${output} cannot be written (EISDIR); the same command again fetches the answers`,
  });
  expect(readdirSync(folder).sort()).toEqual(["in.jsonl", "out.jsonl", "out.jsonl.batch"]);
  const free = ended(async function* () {
    yield Buffer.from("an answer");
  });
  rmSync(output, { recursive: true });
  await batch(free, input, { output });
  said.mockRestore();
  expect(readFileSync(output, "utf8")).toBe("an answer");
});

test("two that watch one batch both have its answers", async () => {
  let reading = 0;
  let bothRead = () => {};
  const together = new Promise<void>((resolve) => {
    bothRead = resolve;
  });
  const client = ended(async function* () {
    yield Buffer.from("an answer, ");
    if (++reading === 2) bothRead();
    await together;
    yield Buffer.from("whole");
  });
  const [printed, said] = [vi.spyOn(console, "log"), vi.spyOn(console, "error")].map((spy) => spy.mockImplementation(() => {}));
  await batch(client, input, { output, detach: true });
  await Promise.all([batch(client, input, { output }), batch(client, input, { output })]);
  for (const spy of [printed, said]) spy!.mockRestore();
  expect(readFileSync(output, "utf8")).toBe("an answer, whole");
  expect(readdirSync(folder).sort()).toEqual(["in.jsonl", "out.jsonl"]);
});

test("who watches is told once that the API is away, and that it is back", async () => {
  const { get, ...rest } = ended(async function* () {
    yield Buffer.from("an answer");
  });
  let asked = 0;
  const away = async (path: string) => {
    if (++asked <= 2) throw new ServingError("UNAVAILABLE", "no longshore answers");
    return get(path);
  };
  const written: string[] = [];
  const stderr = vi.spyOn(process.stderr, "write").mockImplementation((text) => written.push(String(text)) > 0);
  const said = vi.spyOn(console, "error").mockImplementation(() => {});
  await batch({ ...rest, url: "http://api", get: away }, input, { output }).finally(() => {
    stderr.mockRestore();
    said.mockRestore();
  });
  expect(written.filter((line) => line.includes("http://api"))).toEqual([
    "no answer from http://api, trying again\n",
    "http://api answers again\n",
  ]);
});

test("a note of what was begun that is no JSON is named, with what to do", async () => {
  writeFileSync(`${output}.batch`, '{"dig');
  const refused = batch(untouched, input, { output });
  await expect(refused).rejects.toMatchObject({ code: "INVALID_REQUEST", message: expect.stringContaining("remove it") });
});

test("to begin anew is the advice where the batch is gone, not where the key is wrong", async () => {
  const gone = batch(answering(new ServingError("NOT_FOUND", "no batch")), input, { output });
  await expect(gone).rejects.toMatchObject({ code: "NOT_FOUND", message: `no batch; to start over, remove ${output}.batch` });
  const locked = batch(answering(new ServingError("UNAUTHORIZED", "no valid API key")), input, { output });
  await expect(locked).rejects.toMatchObject({ code: "UNAUTHORIZED", message: "no valid API key" });
  expect(existsSync(`${output}.batch`)).toBe(true);
});

test("where its lines go is read behind a mark of byte order, too", async () => {
  writeFileSync(input, '\ufeff{"url":"/v1/responses"}\r\n');
  const asked: unknown[] = [];
  const client = { send: async () => ({ id: "file-1" }), post: async (_: string, body: unknown) => ({ id: `batch_${asked.push(body)}` }) };
  const printed = vi.spyOn(console, "log").mockImplementation(() => {});
  await batch(client as unknown as Client, input, { output, detach: true });
  printed.mockRestore();
  expect(asked).toEqual([{ input_file_id: "file-1", endpoint: "/v1/responses", completion_window: "24h" }]);
});
