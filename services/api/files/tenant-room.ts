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
 *
 * A tenant has no more than all together. So what it has of files, of which there may be very many, is looked at only where all would be too much for one, and
 * an upload, whose document does not grow, looks at nothing while either room is at most half full.
 */
export async function requireRoom(bus: Bus, caller: Caller, asked: "batch" | "file", fileBytes = 0): Promise<void> {
  if (caller === EVERYBODY) return;
  const [documents, files] = await Promise.all([bus.documents.room(), bus.files.room()]);
  const looksAtDocuments = asked === "batch" || documents.bytes > free(documents);
  const looksAtFiles = files.bytes > free(files);
  if (!looksAtDocuments && !looksAtFiles) return;
  const ofBatches = await keptOfBatches(bus, caller.tenant);
  const { growthBytes } = ofBatches;
  if (!looksAtFiles && documents.bytes + growthBytes <= free(documents) - growthBytes) return;
  const ofFiles = await keptOfFiles(bus, caller.tenant);
  if (looksAtDocuments && ofBatches.documentBytes + ofFiles.documentBytes + growthBytes > free(await bus.documents.room()) - growthBytes)
    throw new ServingError(
      "OVERLOADED",
      "the records of your batches and files take as much room as is left for others: wait for batches to end, or delete files you no longer need (DELETE /v1/files/FILE) and batches that ended before a line was run (DELETE /v1/batches/BATCH, for those whose request_counts.total is 0)",
    );
  if (looksAtFiles && ofBatches.fileBytes + ofFiles.fileBytes + fileBytes > free(await bus.files.room()))
    throw new ServingError(
      "OVERLOADED",
      "your files, those that batches wrote included, take as much room as is left for others: delete those you no longer need (DELETE /v1/files/FILE)",
    );
}

const free = ({ bytes, bytesMax }: Room): number => bytesMax - bytes;

/** `growthBytes`: by which the documents will become more, at most about. */
async function keptOfBatches(bus: Bus, tenant: string) {
  const kept = { documentBytes: 0, growthBytes: 0, fileBytes: 0 };
  for await (const document of documentsBehind(bus, "batch", tenant, 0)) {
    const batch = unlessDamaged(() => batchOf(document));
    const bytes = sizeOfDocument(document);
    kept.documentBytes += bytes;
    if (batch === null || hasEnded(batch)) continue;
    kept.growthBytes += Math.max(0, OPEN_BYTES - bytes);
    kept.fileBytes += sizeOf(batch.output.parts) + sizeOf(batch.errors.parts); // once it has ended they are files
  }
  return kept;
}

async function keptOfFiles(bus: Bus, tenant: string) {
  const kept = { documentBytes: 0, fileBytes: 0 };
  for await (const document of documentsBehind(bus, "file", tenant, 0)) {
    kept.documentBytes += sizeOfDocument(document);
    kept.fileBytes += unlessDamaged(() => fileOf(document))?.bytes ?? 0;
  }
  return kept;
}

const sizeOfDocument = ({ text }: Document): number => Buffer.byteLength(text) + BESIDE_BYTES;
