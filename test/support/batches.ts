import type OpenAI from "openai";
import { toFile } from "openai";

export interface OutputLine {
  readonly id: string;
  readonly custom_id: string;
  readonly response: { readonly status_code: number; readonly request_id: string; readonly body: Record<string, unknown> } | null;
  readonly error: { readonly code: string; readonly message: string } | null;
}

export const chatLine = (custom_id: string, content: string, more: object = {}) => ({
  custom_id,
  method: "POST",
  url: "/v1/chat/completions",
  body: { model: "yardlog", messages: [{ role: "user", content }], max_tokens: 8, ...more },
});

/** Objects as JSON lines; texts as they are. */
export const jsonLines = (lines: readonly (object | string)[]): string =>
  lines.map((line) => (typeof line === "string" ? line : JSON.stringify(line))).join("\n");

export async function createBatch(client: OpenAI, lines: readonly (object | string)[], more: object = {}): Promise<OpenAI.Batch> {
  const file = await client.files.create({ file: await toFile(Buffer.from(jsonLines(lines)), "in.jsonl"), purpose: "batch" });
  const asked = { input_file_id: file.id, endpoint: "/v1/chat/completions", completion_window: "24h", ...more } as const;
  return client.batches.create(asked);
}

export const hasEnded = ({ status }: OpenAI.Batch): boolean => ["completed", "failed", "expired", "cancelled"].includes(status);

/** Looks at the batch until `holds`. */
export async function batchUntil(client: OpenAI, id: string, holds: (batch: OpenAI.Batch) => boolean, ms = 150_000): Promise<OpenAI.Batch> {
  for (const endMs = Date.now() + ms; ; await new Promise((resolve) => setTimeout(resolve, 50))) {
    const batch = await client.batches.retrieve(id);
    if (holds(batch)) return batch;
    if (Date.now() > endMs) throw new Error(`after ${ms} ms: ${JSON.stringify(batch)}`);
  }
}

/** The lines of a produced file; none where there is no file. */
export async function outputLines(client: OpenAI, fileId: string | null | undefined): Promise<OutputLine[]> {
  if (fileId === null || fileId === undefined) return [];
  const text = await (await client.files.content(fileId)).text();
  if (!text.endsWith("\n")) throw new Error("the file does not end with a whole line");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as OutputLine);
}
