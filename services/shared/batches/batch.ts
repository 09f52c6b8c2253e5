import type { Bus, Document, DocumentKind } from "../bus/contract.ts";
import type { Part, StoredFile } from "./file.ts";
import { FILE_LIFE_SECONDS, sizeOf } from "./file.ts";

/** Where a line of the input may go. */
export const ENDPOINTS = ["/v1/chat/completions", "/v1/completions", "/v1/responses"] as const;
export type Endpoint = (typeof ENDPOINTS)[number];

export const LINES_MAX = 50_000;
export const WINDOW_SECONDS = 86_400;

export interface BatchError {
  readonly code: string;
  readonly message: string;
  readonly param: string | null;
  /** Of the input file, from 1 on. */
  readonly line: number | null;
}

export interface BatchUsage {
  readonly inputTokens: number;
  readonly cachedTokens: number;
  readonly outputTokens: number;
  readonly reasoningTokens: number;
}

/** What the lines that ended have written: the parts, and how many lines are in them. */
export interface Produced {
  readonly lines: number;
  readonly parts: readonly Part[];
}

/**
 * A batch as the record keeps it: one document, written by compare-and-set. Whoever holds it writes all of it but `cancellingAt`, which the
 * API sets. A line is in `done` from the moment that the part with its result is in `output` or `errors`: one write does both, so that every line
 * is there once, whoever dies when.
 */
export interface Batch {
  readonly id: string;
  readonly tenant: string;
  readonly endpoint: Endpoint;
  readonly inputFileId: string;
  readonly metadata: Readonly<Record<string, string>> | null;
  /** Of both output files, from their creation on. */
  readonly outputLifeSeconds: number;
  /** `in_progress` and `validating` are shown as `cancelling` once `cancellingAt` is set. */
  readonly status: "validating" | "in_progress" | "finalizing" | "completed" | "failed" | "expired" | "cancelled";
  readonly model: string | null;
  readonly problems: readonly BatchError[];
  readonly total: number;
  readonly output: Produced;
  readonly errors: Produced;
  /** A bit for each line, in the order of the file, base64; empty while there are none and once the batch has ended. */
  readonly done: string;
  readonly usage: BatchUsage;
  /** Unix seconds by the record's clock. */
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly inProgressAt: number | null;
  readonly finalizingAt: number | null;
  readonly endedAt: number | null;
  readonly cancellingAt: number | null;
  /** The coordinator that works on it. Its claim lasts as long as it writes: see `isFree`. */
  readonly holder: string | null;
  /** Grows with every claim, and with every write under a claim. */
  readonly epoch: number;
  readonly turn: number;
  /** Claims in a row under which no line ended, this one included. */
  readonly attempt: number;
  /** Of a batch that ended and is still to be told. */
  readonly webhook: Telling | null;
}

/** What is known of the telling of an end: tries so far, and when the next one is due (unix seconds). */
export interface Telling {
  readonly tries: number;
  readonly nextAt: number;
}

export const nothingProduced: Produced = { lines: 0, parts: [] };
export const nothingUsed: BatchUsage = { inputTokens: 0, cachedTokens: 0, outputTokens: 0, reasoningTokens: 0 };

export const hasEnded = ({ status }: Batch): boolean =>
  status === "completed" || status === "failed" || status === "expired" || status === "cancelled";

/** May be claimed: nobody holds it, or whoever does wrote nothing for `claimMs`. */
export const isFree = ({ holder }: Batch, storedMs: number, nowMs: number, claimMs: number): boolean =>
  holder === null || nowMs - storedMs >= claimMs;

export const batchOf = ({ text }: Pick<Document, "text">): Batch => JSON.parse(text) as Batch;

export async function findBatch({ documents }: Bus, tenant: string, id: string): Promise<{ batch: Batch; place: number } | null> {
  const document = await documents.get("batch", tenant, id);
  return document === null ? null : { batch: batchOf(document), place: document.place };
}

/** Documents asked for together. */
const PAGE = 500;

/** Every document of a kind, of a tenant or of all, that was written behind a place. */
export async function* documentsBehind(bus: Bus, kind: DocumentKind, tenant: string | null, after: number): AsyncGenerator<Document> {
  for (let place = after; ; ) {
    const page = await bus.documents.behind(kind, tenant, place, PAGE);
    yield* page;
    if (page.length < PAGE) return;
    place = page.at(-1)!.place;
  }
}

type Kind = "output" | "errors";

/** Both files have ids from the beginning, and are there once they have a line. */
export const producedId = ({ id }: Pick<Batch, "id">, kind: Kind): string => `file-${id.slice("batch_".length)}-${kind}`;

/** The batch and the kind that a produced file's id names. */
export function producerOf(fileId: string): { readonly batchId: string; readonly kind: Kind } | null {
  const [, suffix, kind] = /^file-([0-9a-z]{20})-(output|errors)$/.exec(fileId) ?? [];
  return suffix === undefined ? null : { batchId: `batch_${suffix}`, kind: kind as Kind };
}

/** A produced file as far as it goes, as of its creation; null while it has no line. */
export function producedFile(batch: Batch, kind: Kind, createdAt: number): StoredFile | null {
  const { lines, parts } = batch[kind];
  if (lines === 0) return null;
  return {
    id: producedId(batch, kind),
    filename: `${batch.id}_${kind}.jsonl`,
    purpose: "batch_output",
    bytes: sizeOf(parts),
    createdAt,
    expiresAt: createdAt + Math.min(batch.outputLifeSeconds, FILE_LIFE_SECONDS),
    parts,
  };
}
