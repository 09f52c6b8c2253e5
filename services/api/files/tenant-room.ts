import { batchOf, documentsBehind, hasEnded } from "../../shared/batches/batch.ts";
import { fileOf, sizeOf } from "../../shared/batches/file.ts";
import type { Bus, Document, Room } from "../../shared/bus/contract.ts";
import { unlessDamaged } from "../../shared/bus/damage.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import { type Caller, EVERYBODY } from "../auth.ts";

/** What the document of a batch that has not ended counts: it grows to about that with a hundred problems, or with bits and parts of 50,000 lines. */
const OPEN_BYTES = 32_768;
/** What a document takes beside its text. */
const BESIDE_BYTES = 256;

/**
 * A tenant may keep as many documents, and as many bytes of files, as are left free for others: one half of either room, two a third each, and whoever comes
 * finds some. EVERYBODY may have all. Throws OVERLOADED where there is more already, or with `fileBytes` that are in no document yet.
 */
export async function requireRoom(bus: Bus, caller: Caller, fileBytes = 0): Promise<void> {
  if (caller === EVERYBODY) return;
  const kept = await keptBy(bus, caller.tenant);
  if (kept.documentBytes + kept.growthBytes > free(await bus.documents.room()) - kept.growthBytes)
    throw new ServingError(
      "OVERLOADED",
      "the records of your batches and files take as much room as is left for others: wait for batches to end, or delete files you no longer need (DELETE /v1/files/FILE) and batches that failed (DELETE /v1/batches/BATCH)",
    );
  if (kept.fileBytes + fileBytes > free(await bus.files.room()))
    throw new ServingError(
      "OVERLOADED",
      "your files, those that batches wrote included, take as much room as is left for others: delete those you no longer need (DELETE /v1/files/FILE)",
    );
}

const free = ({ bytes, bytesMax }: Room): number => bytesMax - bytes;

interface Kept {
  readonly documentBytes: number;
  /** By which its documents will become more, at most about. */
  readonly growthBytes: number;
  readonly fileBytes: number;
}

/** Takes a look at every document of the tenant, as a list does. */
async function keptBy(bus: Bus, tenant: string): Promise<Kept> {
  let documentBytes = 0;
  let growthBytes = 0;
  let fileBytes = 0;
  for await (const document of documentsBehind(bus, "batch", tenant, 0)) {
    const batch = unlessDamaged(() => batchOf(document));
    const bytes = sizeOfDocument(document);
    documentBytes += bytes;
    if (batch === null || hasEnded(batch)) continue;
    growthBytes += Math.max(0, OPEN_BYTES - bytes);
    fileBytes += sizeOf(batch.output.parts) + sizeOf(batch.errors.parts); // once it has ended they are files
  }
  for await (const document of documentsBehind(bus, "file", tenant, 0)) {
    documentBytes += sizeOfDocument(document);
    fileBytes += unlessDamaged(() => fileOf(document))?.bytes ?? 0;
  }
  return { documentBytes, growthBytes, fileBytes };
}

const sizeOfDocument = ({ text }: Document): number => Buffer.byteLength(text) + BESIDE_BYTES;
