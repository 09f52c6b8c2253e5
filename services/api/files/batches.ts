import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import {
  type Batch,
  batchOf,
  documentsBehind,
  ENDPOINTS,
  findBatch,
  hasEnded,
  nothingProduced,
  nothingUsed,
  producedId,
  WINDOW_SECONDS,
} from "../../shared/batches/batch.ts";
import { FILE_LIFE_SECONDS } from "../../shared/batches/file.ts";
import type { Bus } from "../../shared/bus/contract.ts";
import { unlessDamaged } from "../../shared/bus/damage.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import { keyOfAnother } from "../errors.ts";
import { metadata, optional } from "../requests.ts";

export const batchRequest = z.object({
  input_file_id: z.string(),
  endpoint: z.enum(ENDPOINTS, { error: `only ${ENDPOINTS.join(", ")} are supported` }),
  completion_window: z.literal("24h", { error: "only 24h is supported" }),
  metadata: optional(metadata),
  output_expires_after: optional(z.object({ anchor: z.literal("created_at"), seconds: z.int().min(3_600).max(FILE_LIFE_SECONDS) })),
});
export type BatchRequest = z.output<typeof batchRequest>;

export function newBatch(id: string, tenant: string, request: BatchRequest, createdAt: number): Batch {
  return {
    id,
    tenant,
    endpoint: request.endpoint,
    inputFileId: request.input_file_id,
    metadata: request.metadata ?? null,
    outputLifeSeconds: request.output_expires_after?.seconds ?? FILE_LIFE_SECONDS,
    status: "validating",
    model: null,
    problems: [],
    total: 0,
    output: nothingProduced,
    errors: nothingProduced,
    done: "",
    usage: nothingUsed,
    createdAt,
    expiresAt: createdAt + WINDOW_SECONDS,
    inProgressAt: null,
    finalizingAt: null,
    endedAt: null,
    cancellingAt: null,
    holder: null,
    epoch: 0,
    turn: 0,
    attempt: 0,
    webhook: null,
  };
}

/** The batch object of OpenAI. */
export function batchObject(batch: Batch) {
  const { id, endpoint, model, problems, inputFileId, output, errors, createdAt, expiresAt, usage } = batch;
  const cancelling = batch.cancellingAt !== null && !hasEnded(batch);
  const endedAs = (status: Batch["status"]) => (batch.status === status ? batch.endedAt : null);
  return {
    id,
    object: "batch",
    endpoint,
    model,
    errors: problems.length === 0 ? null : { object: "list", data: problems },
    input_file_id: inputFileId,
    completion_window: "24h",
    status: cancelling ? "cancelling" : batch.status,
    output_file_id: output.lines === 0 ? null : producedId(batch, "output"),
    error_file_id: errors.lines === 0 ? null : producedId(batch, "errors"),
    created_at: createdAt,
    in_progress_at: batch.inProgressAt,
    expires_at: expiresAt,
    finalizing_at: batch.finalizingAt,
    completed_at: endedAs("completed"),
    failed_at: endedAs("failed"),
    expired_at: endedAs("expired"),
    cancelling_at: batch.cancellingAt,
    cancelled_at: endedAs("cancelled"),
    request_counts: { total: batch.total, completed: output.lines, failed: errors.lines },
    usage: {
      input_tokens: usage.inputTokens,
      input_tokens_details: { cached_tokens: usage.cachedTokens },
      output_tokens: usage.outputTokens,
      output_tokens_details: { reasoning_tokens: usage.reasoningTokens },
      total_tokens: usage.inputTokens + usage.outputTokens,
    },
    metadata: batch.metadata,
  };
}

export async function requireBatch(bus: Bus, tenant: string, id: string): Promise<{ batch: Batch; place: number }> {
  const found = /^batch_[0-9a-z]{20}$/.test(id) ? await findBatch(bus, tenant, id) : null;
  if (found !== null) return found;
  throw new ServingError("NOT_FOUND", `no batch ${id.slice(0, 100)}`, { param: "id", apiCode: "batch_not_found" });
}

/** Whether the same is asked for: metadata has no order over gRPC. */
const isAlike = (one: Batch, other: Batch): boolean => isDeepStrictEqual(asked(one), asked(other));
const asked = ({ inputFileId, endpoint, metadata, outputLifeSeconds }: Batch) => [inputFileId, endpoint, metadata, outputLifeSeconds];

/** How long ago the request may have come that an SDK sends again. */
const RETRY_SECONDS = 600;

/** The latest batch that the same was asked for a while ago, for a request that says it is sent again; null if there is none. */
export async function lostBatch(bus: Bus, batch: Batch): Promise<Batch | null> {
  let lost: Batch | null = null;
  for await (const one of batchesOf(bus, batch.tenant))
    if (comesToSomething(one) && batch.createdAt - one.createdAt <= RETRY_SECONDS && isAlike(one, batch)) lost = one;
  return lost;
}

/** Who asks for what was cancelled, failed or expired asks for it anew. */
const comesToSomething = (batch: Batch): boolean => batch.status === "completed" || (!hasEnded(batch) && batch.cancellingAt === null);

/** Creates the batch, or finds it there for a request that comes again under its key. CONFLICT for another request under that key. */
export async function createBatch(bus: Bus, batch: Batch): Promise<Batch> {
  if ((await bus.documents.put("batch", batch.tenant, batch.id, JSON.stringify(batch), 0)) !== null) return batch;
  const { batch: earlier } = await requireBatch(bus, batch.tenant, batch.id);
  if (!isAlike(earlier, batch)) throw keyOfAnother();
  return earlier;
}

/** The coordinator that holds the batch sees it with its next write. CONFLICT once nothing is left to cancel. */
export async function cancelBatch(bus: Bus, tenant: string, id: string): Promise<Batch> {
  for (;;) {
    const { batch, place } = await requireBatch(bus, tenant, id);
    if (batch.cancellingAt !== null && !hasEnded(batch)) return batch;
    if (batch.status !== "validating" && batch.status !== "in_progress") {
      throw new ServingError("CONFLICT", `${id} is ${batch.status}: there is nothing to cancel`, { apiCode: "batch_not_cancellable" });
    }
    const cancelling: Batch = { ...batch, cancellingAt: Math.floor((await bus.log.nowMs()) / 1_000) };
    if ((await bus.documents.put("batch", tenant, id, JSON.stringify(cancelling), place)) !== null) return cancelling;
  }
}

/** CONFLICT while it may run, and once its file was found valid, as lines may have been run: under its key others would be answered with theirs. */
export async function deleteBatch(bus: Bus, tenant: string, id: string): Promise<void> {
  const { batch } = await requireBatch(bus, tenant, id);
  if (!hasEnded(batch)) throw new ServingError("CONFLICT", `${id} has not ended; cancel it, then delete it`);
  if (batch.total > 0)
    throw new ServingError("CONFLICT", `lines of ${id} may have run, so it is kept for 31 days; its files can be deleted`);
  await bus.documents.delete("batch", tenant, id);
}

/** Every batch of the tenant that can be read, in the order they were last written. A tenant may have many: keep of each what is needed. */
export async function* batchesOf(bus: Bus, tenant: string): AsyncGenerator<Batch> {
  for await (const document of documentsBehind(bus, "batch", tenant, 0)) {
    const batch = unlessDamaged(() => batchOf(document));
    if (batch !== null) yield batch;
  }
}
