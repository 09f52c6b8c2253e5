import { z } from "zod";
import { type Batch, documentsBehind, findBatch, hasEnded, producedFile, producerOf } from "../../shared/batches/batch.ts";
import { deleteParts, FILE_LIFE_SECONDS, fileOf, findStored, PART_BYTES, type Part, type StoredFile } from "../../shared/batches/file.ts";
import type { Bus } from "../../shared/bus/contract.ts";
import { unlessDamaged } from "../../shared/bus/damage.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import type { Random } from "../../shared/runtime/random.ts";
import { optional } from "../requests.ts";
import { batchesOf } from "./batches.ts";

/** The fields beside the file. */
export const uploadRequest = z.object({
  purpose: z.literal("batch", { error: "only batch is supported" }),
  "expires_after[anchor]": optional(z.literal("created_at")),
  "expires_after[seconds]": optional(z.coerce.number().int().min(3_600).max(FILE_LIFE_SECONDS)),
});

/** The file object of OpenAI. */
export const fileObject = ({ id, filename, purpose, bytes, createdAt, expiresAt }: StoredFile) => ({
  id,
  object: "file",
  bytes,
  created_at: createdAt,
  expires_at: expiresAt,
  filename,
  purpose,
  status: "processed",
  status_details: null,
});
type FileObject = ReturnType<typeof fileObject>;

/** A file of the tenant, what a running batch has written so far included. NOT_FOUND in the same words for another tenant's. */
export async function findFile(bus: Bus, tenant: string, id: string, param = "id"): Promise<StoredFile> {
  const producer = producerOf(id);
  const file =
    (/^file-[0-9a-z-]{1,40}$/.test(id) ? await findStored(bus, tenant, id) : null) ??
    (producer === null ? null : soFar((await findBatch(bus, tenant, producer.batchId))?.batch, producer.kind));
  if (file !== null) return file;
  throw new ServingError("NOT_FOUND", `no file ${id.slice(0, 100)}`, { param, apiCode: "file_not_found" });
}

/** What is told of every file of the tenant that can be read. Where their parts lie is not kept: of all of them it would be many times as much. */
export async function filesOf(bus: Bus, tenant: string): Promise<FileObject[]> {
  const nowSeconds = (await bus.log.nowMs()) / 1_000;
  const files = new Map<string, FileObject>();
  for await (const batch of runningOf(bus, tenant))
    for (const file of [soFar(batch, "output"), soFar(batch, "errors")]) if (file !== null) files.set(file.id, fileObject(file));
  for await (const document of documentsBehind(bus, "file", tenant, 0)) {
    const file = unlessDamaged(() => fileOf(document));
    if (file !== null && file.expiresAt > nowSeconds) files.set(file.id, fileObject(file));
  }
  return [...files.values()];
}

/** CONFLICT while a batch that has not ended reads or writes it. */
export async function requireUnused(bus: Bus, tenant: string, { id }: StoredFile): Promise<void> {
  for await (const batch of runningOf(bus, tenant)) {
    if (batch.inputFileId !== id && producerOf(id)?.batchId !== batch.id) continue;
    throw new ServingError("CONFLICT", `${id} is in use by ${batch.id}, which has not ended; cancel the batch first`);
  }
}

async function* runningOf(bus: Bus, tenant: string): AsyncGenerator<Batch> {
  for await (const batch of batchesOf(bus, tenant)) if (!hasEnded(batch)) yield batch;
}

/** Files of an ended batch have documents of their own. */
const soFar = (batch: Batch | undefined, kind: "output" | "errors"): StoredFile | null =>
  batch === undefined || batch.inProgressAt === null || hasEnded(batch) ? null : producedFile(batch, kind, batch.inProgressAt);

/** Puts what comes into the record, part by part, never more than one in memory. Nothing stays if it is cut off. */
export async function storeParts(bus: Bus, random: Random, chunks: AsyncIterable<Uint8Array>): Promise<Part[]> {
  const parts: Part[] = [];
  let waiting: Uint8Array[] = [];
  let bytes = 0;
  const flush = async () => {
    const key = random.id("part_");
    parts.push({ key, bytes });
    await bus.files.put(key, Buffer.concat(waiting));
    waiting = [];
    bytes = 0;
  };
  try {
    for await (const chunk of chunks) {
      for (let offset = 0; offset < chunk.length; ) {
        const piece = chunk.subarray(offset, offset + PART_BYTES - bytes);
        waiting.push(piece);
        bytes += piece.length;
        offset += piece.length;
        if (bytes === PART_BYTES) await flush();
      }
    }
    if (bytes > 0) await flush();
    return parts;
  } catch (error) {
    await deleteParts(bus, parts);
    throw error;
  }
}

/** The bytes of a file, part by part. INTERNAL if one is gone. */
export async function* contentOf({ files }: Bus, { id, parts }: StoredFile): AsyncGenerator<Uint8Array> {
  for (const { key } of parts) {
    const bytes = await files.get(key);
    if (bytes === null) throw new ServingError("INTERNAL", `a part of ${id} is gone`);
    yield bytes;
  }
}
