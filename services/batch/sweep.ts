import { documentsBehind } from "../shared/batches/batch.ts";
import { deleteStored, fileOf } from "../shared/batches/file.ts";
import type { BatchDeps } from "./lines-run.ts";

/** Deletes the files whose life is over, but for those in `used`, until told to stop. Harmless when several do it. */
export async function sweepFiles(
  { bus, log, readable, stopping }: Pick<BatchDeps, "bus" | "log" | "readable" | "stopping">,
  used: ReadonlySet<string>,
  nowMs: number,
): Promise<void> {
  let swept = 0;
  for await (const document of documentsBehind(bus, "file", null, 0)) {
    if (stopping.aborted) break;
    const file = readable("file", document, fileOf);
    if (file === null || 1_000 * file.expiresAt > nowMs || used.has(file.id)) continue;
    await deleteStored(bus, document.tenant, file);
    swept++;
  }
  if (swept > 0) log.info({ files: swept }, "files were deleted whose life is over");
}
