import { z } from "zod";
import type { Bus, Document } from "../bus/contract.ts";
import { readDocument } from "./document.ts";

export const partShape = z.object({ key: z.string(), bytes: z.number() });

/** One piece of a file, an object of the file store under a key of its own. */
export type Part = Readonly<z.infer<typeof partShape>>;

const fileShape = z.object({
  id: z.string(),
  filename: z.string(),
  purpose: z.enum(["batch", "batch_output"]),
  bytes: z.number(),
  /** Unix seconds. */
  createdAt: z.number(),
  expiresAt: z.number(),
  parts: z.array(partShape).readonly(),
});

/** A file of a tenant: its document names the parts, whose bytes in this order are the file's. Immutable. */
export type StoredFile = Readonly<z.infer<typeof fileShape>>;

/** Size of the parts of an uploaded file; those of a produced file have any size up to this. */
export const PART_BYTES = 1_048_576;

export const FILE_LIFE_SECONDS = 30 * 86_400;

export const sizeOf = (parts: readonly Part[]): number => parts.reduce((sum, { bytes }) => sum + bytes, 0);

/** Null for a file that does not exist or has expired. */
export async function findStored(bus: Bus, tenant: string, id: string): Promise<StoredFile | null> {
  const file = await storedFile(bus, tenant, id);
  return file === null || file.expiresAt <= (await bus.log.nowMs()) / 1_000 ? null : file;
}

/** Expired files too, for a batch that began before. */
export async function storedFile({ documents }: Bus, tenant: string, id: string): Promise<StoredFile | null> {
  const document = await documents.get("file", tenant, id);
  return document === null ? null : fileOf(document);
}

/** A file is written once: one that is there already stays. */
export const saveFile = async ({ documents }: Bus, tenant: string, file: StoredFile): Promise<void> =>
  void (await documents.put("file", tenant, file.id, JSON.stringify(file), 0));

/** The document goes first: a file without all of its parts is never shown. */
export async function deleteStored(bus: Bus, tenant: string, { id, parts }: StoredFile): Promise<void> {
  await bus.documents.delete("file", tenant, id);
  await deleteParts(bus, parts);
}

/** Parts that cannot be deleted, because the record is away, go with their age. */
export async function deleteParts({ files }: Bus, parts: readonly Part[]): Promise<void> {
  for (const { key } of parts) await files.delete(key).catch(() => {});
}

/** Throws DAMAGED. */
export const fileOf = (document: Document): StoredFile => readDocument(fileShape, document);
