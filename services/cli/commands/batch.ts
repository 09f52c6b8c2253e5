import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { basename } from "node:path";
import type { batchObject } from "../../api/files/batches.ts";
import { systemClock } from "../../shared/runtime/clock.ts";
import { refusal, ServingError } from "../../shared/runtime/errors.ts";
import { systemRandom } from "../../shared/runtime/random.ts";
import { acrossAbsence, sayingAway } from "../absence.ts";
import { asFound, type Input, readInput, urlOfFirstLine } from "../batch/input.ts";
import { readTicket, type Ticket, writeTicket } from "../batch/ticket.ts";
import type { Client } from "../client.ts";
import { download } from "../download.ts";
import { watching } from "../progress.ts";

export interface BatchOptions {
  readonly output: string;
  /** Leave once the batch is accepted. */
  readonly detach?: boolean;
  readonly cancel?: boolean;
}

type Batch = ReturnType<typeof batchObject>;

const LOOK_MS = 1_000;
const ENDED = ["completed", "failed", "expired", "cancelled"];

/** Runs a file of requests and writes what they answered. What was begun before with the same files is gone on with. */
export async function batch(client: Client, path: string, { output, detach, cancel }: BatchOptions): Promise<void> {
  const ticketPath = `${output}.batch`;
  const input = await readInput(path);
  const { digest } = input;
  let ticket = await readTicket(ticketPath, digest);
  if (cancel === true && ticket?.batchId === undefined)
    throw refusal(`no batch of ${path} with output ${output} is running: there is no ${ticketPath}`);
  for (const taken of ticket === null ? [output, errorsOf(output)] : [])
    if (existsSync(taken)) throw refusal(`${taken} exists; remove it, or name another file with -o`);
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
    throw new ServingError("NOT_FOUND", `${error.message}; to start over, remove ${ticketPath}`, { cause: error });
  });
  await fetched(client, ended, output);
  await rm(ticketPath, { force: true }); // who watched it too may have been first
  if (ended.status === "failed")
    throw refusal(`${id} failed${begun(ended) ? "" : `: no line was ${ended.request_counts.total === 0 ? "run" : "answered"}`}`);
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

/** A batch that ended meanwhile is as good. */
async function cancelled(client: Client, id: string): Promise<void> {
  await client.post(`/v1/batches/${id}/cancel`).catch(async (error: unknown) => {
    if (!ENDED.includes(((await client.get(`/v1/batches/${id}`)) as Batch).status)) throw error;
  });
}

/** Shows where the batch stands until it ended. */
function watched(client: Client, id: string): Promise<Batch> {
  return watching(id, "run the same command again to watch it, or with --cancel to cancel it", async (progress) => {
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
