import type { Batch } from "../../shared/batches/batch.ts";
import { derivedId } from "../../shared/batches/ids.ts";
import type { Caller } from "../auth.ts";
import type { ApiDeps } from "../deps.ts";
import { invalid } from "../errors.ts";
import { type BatchRequest, createBatch, lostBatch, newBatch } from "./batches.ts";
import { findFile } from "./files.ts";
import { requireRoom } from "./tenant-room.ts";

/**
 * Puts a batch into the record, where a coordinator (services/batch) takes it up; the same key of the tenant finds the same batch, and so, without a key,
 * does a request that comes `again`.
 */
export async function submitBatch(
  { bus, random }: Pick<ApiDeps, "bus" | "random">,
  caller: Caller,
  request: BatchRequest,
  key: string | null,
  again = false,
): Promise<Batch> {
  const { tenant } = caller;
  const input = await findFile(bus, tenant, request.input_file_id, "input_file_id");
  if (input.purpose !== "batch") throw invalid("input_file_id", "the file was not uploaded with purpose=batch");
  const id = key === null ? random.id("batch_") : derivedId("batch_", tenant, key);
  const batch = newBatch(id, tenant, request, Math.floor((await bus.log.nowMs()) / 1_000));
  const lost = key === null && again ? await lostBatch(bus, batch) : null;
  if (lost !== null) return lost;
  if (key === null || (await bus.documents.get("batch", tenant, id)) === null) await requireRoom(bus, caller, "batch");
  return createBatch(bus, batch);
}
