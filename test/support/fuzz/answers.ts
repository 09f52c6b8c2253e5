import { expect } from "vitest";
import { type Served, serveEmbedded } from "../../../services/cli/serve.ts";
import { saveFile } from "../../../services/shared/batches/file.ts";
import { loadConfig } from "../../../services/shared/runtime/config.ts";
import { silentLog } from "../../../services/shared/runtime/log.ts";
import { batch, type Json } from "./examples.ts";

const ANSWER_MS = 20_000;
/** FUZZ_RUNS=5000 for a long look. */
export const RUNS = Number(process.env.FUZZ_RUNS ?? 150);

/** A cluster that answers fast, with the file that the batch among the examples names. */
export async function serveFuzzed(): Promise<Served> {
  const settings = { LONGSHORE_ENGINE: "weightless", LONGSHORE_PORT: "0", LONGSHORE_BODY_MAX_BYTES: "100000" };
  const served = await serveEmbedded(loadConfig(settings), silentLog);
  const file = { filename: "in.jsonl", purpose: "batch", bytes: 0, createdAt: 0, expiresAt: 4e9, parts: [] } as const;
  await saveFile(served.cluster.bus, "default", { id: batch.input_file_id, ...file });
  return served;
}

interface Answered {
  /** As the server saw it: `..` is gone. */
  readonly path: string;
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

export async function ask({ api }: Served, path: string, options: RequestInit = {}): Promise<Answered> {
  const response = await fetch(api.url + path, { ...options, signal: AbortSignal.timeout(ANSWER_MS) });
  return { path: new URL(response.url).pathname, status: response.status, headers: response.headers, text: await response.text() };
}

export const postJson = (served: Served, path: string, body: Json) =>
  ask(served, path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

/** The server made no mistake, and a refusal has the form that clients of the surface read. */
export function check({ path, status, headers, text }: Answered): void {
  expect(status, text).toBeLessThan(500);
  expect(headers.get("x-request-id")).toMatch(/^req_[0-9a-z]{20}$/);
  if (status >= 400) checkError(path, JSON.parse(text));
  else if (headers.get("content-type")?.startsWith("text/event-stream") === true) checkStream(path, text);
}

const openaiError = { error: { message: expect.any(String), type: expect.any(String), code: expect.any(String) } };
const anthropicError = { type: "error", error: { message: expect.any(String), type: expect.stringMatching(/_error$/) } };

export function checkError(path: string, body: unknown): void {
  if (path.startsWith("/v1/messages")) expect(body).toMatchObject(anthropicError);
  else expect(body).toMatchObject(openaiError);
}

function checkStream(path: string, text: string): void {
  const data = text.split("\n").flatMap((line) => (line.startsWith("data: ") ? [line.slice("data: ".length)] : []));
  const events = data.filter((line) => line !== "[DONE]").map((line) => JSON.parse(line));
  const failed = events.filter((event) => "error" in event || event.type === "error");
  expect(failed).toEqual([]);
  if (path.startsWith("/v1/messages")) expect(events.at(-1)).toEqual({ type: "message_stop" });
  else if (path.startsWith("/v1/responses")) expect(events.at(-1).type).toMatch(/^response\.(completed|incomplete)$/);
  else expect(data.at(-1)).toBe("[DONE]");
}
