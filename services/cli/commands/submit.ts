import { readFile } from "node:fs/promises";
import { refusal, type ServingError } from "../../shared/runtime/errors.ts";
import { systemRandom } from "../../shared/runtime/random.ts";
import { acrossAbsence, sayingAway } from "../absence.ts";
import type { Client } from "../client.ts";
import { jobAnswer } from "../job-answer.ts";
import { jobEvents } from "../job-events.ts";
import { watching } from "../progress.ts";

export interface SubmitOptions {
  /** Asked after the text of a FILE that is not a request. */
  readonly question?: string;
  readonly maxTokens?: number;
  /** Print the job's id and leave. */
  readonly detach?: boolean;
}

/** Submits a request file (JSON with `messages` or `prompt`) or a text, shows its way through the cluster, prints the answer. */
export async function submitFile(client: Client, path: string, options: SubmitOptions): Promise<void> {
  const job = await submitted(client, await requestOf(client, path, options));
  if (options.detach === true) {
    console.log(job.id);
    return;
  }
  await waitAndPrint(client, job.id);
}

/** The job of this request, one however often it is sent: an API that went away meanwhile may have taken it, and nobody would see it run. */
async function submitted(client: Client, request: object): Promise<{ readonly id: string }> {
  const key = { "idempotency-key": systemRandom.id("cli_") };
  const ask = () => client.post("/v1/jobs", request, key);
  const passing = ({ code }: ServingError) => code === "UNAVAILABLE"; // a busy cluster is the user's to wait for
  return (await acrossAbsence(ask, sayingAway(client.url, console.error), passing)) as { readonly id: string };
}

/** Waits for a job that was submitted before, and prints its answer. */
export async function printAnswer(client: Client, jobId: string): Promise<void> {
  await client.get(`/v1/jobs/${encodeURIComponent(jobId)}`); // what is wrong with job, key or URL is wrong at once
  await waitAndPrint(client, jobId);
}

async function waitAndPrint(client: Client, jobId: string): Promise<void> {
  await watch(client, jobId);
  const { text, promptTokens, cachedTokens, answerTokens } = await jobAnswer(client, jobId, console.log);
  console.log(text);
  console.error(`${jobId}: ${promptTokens} prompt tokens, ${cachedTokens} of them from cache; ${answerTokens} tokens answered`);
}

async function requestOf(client: Client, path: string, { question, maxTokens }: SubmitOptions): Promise<object> {
  const text = await readText(path);
  const limit = maxTokens === undefined ? {} : { max_tokens: maxTokens };
  const model = async () => ((await client.get("/v1/models")) as { data: Array<{ id: string }> }).data[0]!.id;
  if (!path.endsWith(".json")) {
    if (question === undefined && text.trim() === "") throw refusal(`${path} holds no text`);
    const content = question === undefined ? text : `${text}\n\n${question}`;
    return { kind: "chat", request: { model: await model(), messages: [{ role: "user", content }], ...limit } };
  }
  const request = parse(path, text);
  if (question !== undefined) throw refusal("--question goes with a text file; a request file already says what is asked");
  return { kind: "messages" in request ? "chat" : "completion", request: { model: await model(), ...request, ...limit } };
}

/** Without a mark of byte order. */
async function readText(path: string): Promise<string> {
  const bytes = await readFile(path).catch((cause) => {
    throw refusal(`${path} cannot be read (${cause.code})`, { cause });
  });
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw refusal(`${path} is not text in UTF-8`, { cause });
  }
}

function parse(path: string, text: string): object {
  try {
    const request: unknown = JSON.parse(text);
    if (typeof request === "object" && request !== null && ("messages" in request || "prompt" in request)) return request;
  } catch (cause) {
    throw refusal(`${path} is not JSON: ${(cause as Error).message}`, { cause });
  }
  throw refusal(`${path} has neither "messages" nor "prompt"`);
}

/** Draws where a job stands until its end. */
function watch(client: Client, jobId: string): Promise<void> {
  return watching(
    jobId,
    `\`longshore answer ${jobId}\` waits for its answer, \`longshore cancel ${jobId}\` cancels it`,
    async (progress) => {
      for await (const { name, done = 0, total = 0, tokens = 0 } of jobEvents(client, jobId, {
        onAway: sayingAway(client.url, progress.say),
      })) {
        if (name === "progress") progress.update(done, total, "prefill");
        else if (name === "handed_over") progress.update(1, 1, "prefill");
        else if (name === "tokens") progress.update(1, 1, `${tokens} tokens answered`);
      }
    },
  );
}
