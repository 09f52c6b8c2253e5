import { z } from "zod";
import type { Bus, Document, DocumentKind } from "../bus/contract.ts";
import { quietMs } from "../bus/standing.ts";
import { readDocument } from "./document.ts";
import type { StoredFile } from "./file.ts";
import { FILE_LIFE_SECONDS, partShape, sizeOf } from "./file.ts";

/** Endpoints that a line of the input may name. */
export const ENDPOINTS = ["/v1/chat/completions", "/v1/completions", "/v1/responses"] as const;
export type Endpoint = (typeof ENDPOINTS)[number];

export const LINES_MAX = 50_000;
export const WINDOW_SECONDS = 86_400;

const errorShape = z.object({
  code: z.string(),
  message: z.string(),
  param: z.string().nullable(),
  /** Line of the input file, from 1 on. */
  line: z.number().nullable(),
});
export type BatchError = Readonly<z.infer<typeof errorShape>>;

const usageShape = z.object({ inputTokens: z.number(), cachedTokens: z.number(), outputTokens: z.number(), reasoningTokens: z.number() });
export type BatchUsage = Readonly<z.infer<typeof usageShape>>;

const producedShape = z.object({ lines: z.number(), parts: z.array(partShape).readonly() });
/** Results of the lines that ended: the parts, and how many lines are in them. */
export type Produced = Readonly<z.infer<typeof producedShape>>;

/** Delivery of an end's webhook: tries so far, and when the next one is due (unix seconds). */
export const tellingShape = z.object({ tries: z.number(), nextAt: z.number() });

const batchShape = z.object({
  id: z.string(),
  tenant: z.string(),
  endpoint: z.enum(ENDPOINTS),
  inputFileId: z.string(),
  metadata: z.record(z.string(), z.string()).nullable(),
  /** Life of both output files, from their creation on. */
  outputLifeSeconds: z.number(),
  /** Shown as `cancelling` from `cancellingAt` until it has ended. */
  status: z.enum(["validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelled"]),
  model: z.string().nullable(),
  problems: z.array(errorShape).readonly(),
  total: z.number(),
  output: producedShape,
  errors: producedShape,
  /** A bit for each line, in the order of the file, base64; empty while there are none and once the batch has ended. */
  done: z.string(),
  usage: usageShape,
  /** Unix seconds by the record's clock. */
  createdAt: z.number(),
  expiresAt: z.number(),
  inProgressAt: z.number().nullable(),
  finalizingAt: z.number().nullable(),
  endedAt: z.number().nullable(),
  cancellingAt: z.number().nullable(),
  /** The coordinator that works on it. Its claim lasts as long as it writes: see `isFree`. */
  holder: z.string().nullable(),
  /** Grows with every claim, and with every write under a claim. */
  epoch: z.number(),
  turn: z.number(),
  /** Claims in a row under which no line ended, this one included. */
  attempt: z.number(),
  /** Set while a batch that ended is still to be told. */
  webhook: tellingShape.nullable(),
});

/**
 * A batch as the record keeps it: one document, written by compare-and-set. Its holder writes all of it but
 * `cancellingAt`, which the API sets. The write that adds the part with a line's result to `output` or `errors` also
 * adds the line to `done`, so that every line is there once, whatever dies when.
 */
export type Batch = Readonly<z.infer<typeof batchShape>>;

export const nothingProduced: Produced = { lines: 0, parts: [] };
export const nothingUsed: BatchUsage = { inputTokens: 0, cachedTokens: 0, outputTokens: 0, reasoningTokens: 0 };

export const hasEnded = ({ status }: Batch): boolean =>
  status === "completed" || status === "failed" || status === "expired" || status === "cancelled";

/** Whether it may be claimed: it has no holder, or its holder wrote nothing for `claimMs`. */
export const isFree = ({ holder }: Batch, storedMs: number, nowMs: number, claimMs: number): boolean =>
  holder === null || quietMs(storedMs, nowMs) >= claimMs;

/** Throws DAMAGED. */
export const batchOf = (document: Pick<Document, "id" | "text">): Batch => readDocument(batchShape, document);

export async function findBatch({ documents }: Bus, tenant: string, id: string): Promise<{ batch: Batch; place: number } | null> {
  const document = await documents.get("batch", tenant, id);
  return document === null ? null : { batch: batchOf(document), place: document.place };
}

/** Documents asked for together. */
const PAGE = 500;

/** What is read of the documents: all that there are, then what was written meanwhile. */
const LOOKS = 2;

/**
 * Every document of a kind, of a tenant or of all, that was written behind a place, also one that is written anew meanwhile: that one may come twice.
 * It ends, however much others write: what is written during the second look may come or not, so one that is written anew in both may be missed.
 */
export async function* documentsBehind(bus: Bus, kind: DocumentKind, tenant: string | null, after: number): AsyncGenerator<Document> {
  let place = after;
  for (let look = 0; look < LOOKS; look++) {
    const end = await bus.documents.end(kind);
    if (place >= end) return; // as with most looks at what is new
    while (place < end) {
      const page = await bus.documents.behind(kind, tenant, place, PAGE);
      yield* page;
      place = page.at(-1)?.place ?? end;
    }
  }
}

type Kind = "output" | "errors";

/** Both files have ids from the beginning, but exist only once they have a line. */
export const producedId = ({ id }: Pick<Batch, "id">, kind: Kind): string => `file-${id.slice("batch_".length)}-${kind}`;

/** The batch and the kind that a produced file's id names. */
export function producerOf(fileId: string): { readonly batchId: string; readonly kind: Kind } | null {
  const [, suffix, kind] = /^file-([0-9a-z]{20})-(output|errors)$/.exec(fileId) ?? [];
  return suffix === undefined ? null : { batchId: `batch_${suffix}`, kind: kind as Kind };
}

/** A produced file as far as it is written; null while it has no line. */
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
