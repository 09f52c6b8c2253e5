import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { access, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename } from "node:path";
import { createInterface } from "node:readline";
import { systemClock } from "../../shared/runtime/clock.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import { systemRandom } from "../../shared/runtime/random.ts";
import { acrossAbsence, sayingAway } from "../absence.ts";
import type { Client } from "../client.ts";
import { download, partOf } from "../download.ts";
import { watching } from "../progress.ts";

export interface BatchOptions {
  readonly output: string;
  /** Leave once the batch is accepted. */
  readonly detach?: boolean;
  readonly cancel?: boolean;
}

/** What of a batch object is used here. */
interface Batch {
  readonly id: string;
  readonly status: string;
  readonly output_file_id: string | null;
  readonly error_file_id: string | null;
  readonly request_counts: { readonly total: number; readonly completed: number; readonly failed: number };
  readonly errors: { readonly data: readonly { readonly code: string; readonly message: string; readonly line: number | null }[] } | null;
  readonly usage: {
    readonly input_tokens: number;
    readonly input_tokens_details: { readonly cached_tokens: number };
    readonly output_tokens: number;
  };
}

/** The file of requests, as it was found when the command began. */
interface Input {
  readonly path: string;
  readonly bytes: number;
  readonly digest: string;
}

/** Kept beside the output until it is there: which batch it is of. The key makes the batch the same one, should its answer have been lost. */
interface Ticket {
  readonly digest: string;
  readonly key: string;
  readonly fileId?: string;
  readonly batchId?: string;
}

const LOOK_MS = 1_000;
const ENDED = ["completed", "failed", "expired", "cancelled"];

/** Runs a file of requests and writes what they answered. What was begun before with the same files is gone on with. */
export async function batch(client: Client, path: string, { output, detach, cancel }: BatchOptions): Promise<void> {
  const ticketPath = `${output}.batch`;
  const input = await found(path);
  const { digest } = input;
  let ticket = await readTicket(ticketPath, digest);
  if (cancel === true && ticket?.batchId === undefined)
    throw new ServingError("INVALID_REQUEST", `no batch of ${path} with output ${output} is running: there is no ${ticketPath}`);
  for (const taken of ticket === null ? [output, errorsOf(output)] : [])
    if (await exists(taken)) throw new ServingError("INVALID_REQUEST", `${taken} exists; remove it, or name another file with -o`);
  const keep = async (changes: Partial<Ticket>) => {
    ticket = { ...(ticket ?? { digest, key: systemRandom.id("cli_") }), ...changes };
    await writeTicket(ticketPath, ticket);
    return ticket;
  };
  const id = ticket?.batchId ?? (await begin(client, input, await urlOfFirstLine(path), ticket ?? (await keep({})), keep));
  if (cancel === true) await cancelled(client, id);
  if (detach === true) {
    console.log(id);
    return;
  }
  const ended = await watched(client, id).catch((error: unknown) => {
    if (!(error instanceof ServingError && error.code === "NOT_FOUND")) throw error;
    throw new ServingError("NOT_FOUND", `${error.message}; to begin anew, remove ${ticketPath}`, { cause: error });
  });
  await fetched(client, ended, output);
  await rm(ticketPath, { force: true }); // who watched it too may have been first
  if (ended.status === "failed")
    throw new ServingError(
      "INVALID_REQUEST",
      `${id} failed${begun(ended) ? "" : `: no line was ${ended.request_counts.total === 0 ? "run" : "answered"}`}`,
    );
}

async function begin(
  client: Client,
  input: Input,
  endpoint: string,
  ticket: Ticket,
  keep: (changes: Partial<Ticket>) => Promise<Ticket>,
): Promise<string> {
  const fileId = ticket.fileId ?? (await upload(client, input));
  await keep({ fileId });
  const asked = { input_file_id: fileId, endpoint, completion_window: "24h" };
  const { id } = (await client.post("/v1/batches", asked, { "idempotency-key": ticket.key })) as Batch;
  await keep({ batchId: id });
  return id;
}

async function upload(client: Client, input: Input): Promise<string> {
  const file = { name: basename(input.path), bytes: input.bytes, content: asFound(input) };
  return ((await client.send("/v1/files", { purpose: "batch" }, file)) as { id: string }).id;
}

/** The bytes of the file, unless they are others by now. */
async function* asFound({ path, bytes, digest }: Input): AsyncGenerator<Uint8Array> {
  const hash = createHash("sha256");
  let left = bytes;
  for await (const chunk of contentOf(path)) {
    left -= chunk.length;
    if (left < 0) break;
    hash.update(chunk);
    yield chunk;
  }
  if (left !== 0 || hash.digest("hex") !== digest)
    throw new ServingError("INVALID_REQUEST", `${path} was changed while it was sent; nothing is begun`);
}

/** A batch that ended meanwhile is as good. */
async function cancelled(client: Client, id: string): Promise<void> {
  await client.post(`/v1/batches/${id}/cancel`).catch(async (error: unknown) => {
    if (!ENDED.includes(((await client.get(`/v1/batches/${id}`)) as Batch).status)) throw error;
  });
}

/** Shows where the batch stands until it ended. */
function watched(client: Client, id: string): Promise<Batch> {
  return watching(id, "the same command again goes on watching it, with --cancel it cancels it", async (progress) => {
    const onAway = sayingAway(client.url, progress.say);
    for (; ; await systemClock.sleep(LOOK_MS)) {
      const batch = (await acrossAbsence(() => client.get(`/v1/batches/${id}`), onAway)) as Batch;
      const { total, completed, failed } = batch.request_counts;
      const note = `${batch.status}, ${completed + failed} of ${total} lines${failed > 0 ? `, ${failed} failed` : ""}`;
      if (total > 0) progress.update(completed + failed, total, note);
      if (ENDED.includes(batch.status)) return batch;
    }
  });
}

async function fetched(client: Client, batch: Batch, output: string): Promise<void> {
  const { id, status, errors, usage, request_counts } = batch;
  for (const { code, message, line } of errors?.data ?? [])
    console.error(`${line === null ? "file" : `line ${line}`}: ${message} (${code})`);
  if (status === "failed" && !begun(batch)) return;
  const onAway = sayingAway(client.url, console.error);
  if (batch.output_file_id !== null) await download(client, batch.output_file_id, output, onAway);
  if (batch.error_file_id !== null) await download(client, batch.error_file_id, errorsOf(output), onAway);
  const { total, completed, failed } = request_counts;
  console.error(
    `${id} ${status}: ${completed} of ${total} lines answered in ${output}${failed > 0 ? `, ${failed} not, in ${errorsOf(output)}` : ""}; ` +
      `${usage.input_tokens} prompt tokens, ${usage.input_tokens_details.cached_tokens} of them from cache; ${usage.output_tokens} tokens answered`,
  );
  if (status !== "completed" || failed > 0) process.exitCode = 1;
}

/** One that failed midway has the answers that were there by then. */
const begun = ({ request_counts: { completed, failed } }: Batch): boolean => completed + failed > 0;
const errorsOf = (output: string): string => `${output}.errors`;

/** Whole, whatever ends this process: without it the batch it names could not be found again. */
async function writeTicket(path: string, ticket: Ticket): Promise<void> {
  const part = partOf(path);
  try {
    await writeFile(part, JSON.stringify(ticket));
    await rename(part, path);
  } catch (cause) {
    await rm(part, { force: true });
    throw new ServingError("INVALID_REQUEST", `${path}, which says what was begun, cannot be written: ${(cause as Error).message}`, {
      cause,
    });
  }
}

/** Null if there is none, or one that came to nothing; that of another input's batch is a mistake that would lose answers. */
async function readTicket(path: string, digest: string): Promise<Ticket | null> {
  const text = await readFile(path, "utf8").catch(() => null);
  if (text === null) return null;
  const ticket = parsedTicket(path, text);
  if (ticket.digest === digest) return ticket;
  if (ticket.batchId === undefined) return null;
  throw new ServingError(
    "INVALID_REQUEST",
    `${path} is of another input; wait for that batch with the input it was begun with, or remove the file`,
  );
}

function parsedTicket(path: string, text: string): Ticket {
  try {
    return JSON.parse(text) as Ticket;
  } catch (cause) {
    throw new ServingError("INVALID_REQUEST", `${path} does not say what was begun: it is no JSON; to begin anew, remove it`, { cause });
  }
}

/** A file alone: what can be read once, such as a pipe, would be sent empty. */
async function found(path: string): Promise<Input> {
  const stats = await stat(path).catch(() => null);
  if (stats !== null && !stats.isFile() && !stats.isDirectory())
    throw new ServingError("INVALID_REQUEST", `${path} can be read only once; write its lines to a file`);
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of contentOf(path)) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  return { path, bytes, digest: hash.digest("hex") };
}

async function* contentOf(path: string): AsyncGenerator<Uint8Array> {
  try {
    yield* createReadStream(path);
  } catch (cause) {
    throw new ServingError("INVALID_REQUEST", `${path} cannot be read (${(cause as NodeJS.ErrnoException).code})`, { cause });
  }
}

/** All lines must have the same one: the batch is validated as a whole. */
async function urlOfFirstLine(path: string): Promise<string> {
  const stream = createReadStream(path);
  let lacks = "it has no lines";
  try {
    for await (const line of createInterface({ input: stream })) {
      if (line.trim() === "") continue;
      const { url } = JSON.parse(line.trim()) as { url?: unknown }; // without a mark of byte order
      if (typeof url === "string") return url;
      lacks = "its first line has no url";
      break;
    }
  } catch (cause) {
    throw new ServingError("INVALID_REQUEST", `${path}: its first line is not JSON: ${(cause as Error).message}`, { cause });
  } finally {
    stream.destroy();
  }
  throw new ServingError("INVALID_REQUEST", `${path}: ${lacks}; \`longshore batch --help\` shows how one looks`);
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );
