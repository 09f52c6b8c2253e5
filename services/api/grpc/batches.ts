import type { UntypedServiceImplementation } from "@grpc/grpc-js";
import type { Batch } from "../../shared/batches/batch.ts";
import type { ApiDeps } from "../deps.ts";
import { batchObject, batchRequest, cancelBatch, requireBatch } from "../files/batches.ts";
import { submitBatch } from "../files/submit-batch.ts";
import { parseBody } from "../requests.ts";
import { unary } from "./calls.ts";
import type { IdMessage, SubmitBatchMessage } from "./messages.ts";

/** The service longshore.v1.Batches. */
export const batchMethods = (deps: ApiDeps): UntypedServiceImplementation => ({
  Submit: unary<SubmitBatchMessage, object>(deps, async (message, { caller }) => {
    const { input_file_id = "", endpoint = "", metadata, output_expires_after_seconds: seconds } = message;
    const expires = seconds === undefined ? {} : { output_expires_after: { anchor: "created_at", seconds } };
    const request = parseBody(batchRequest, { input_file_id, endpoint, metadata, ...expires, completion_window: "24h" });
    return batchMessage(await submitBatch(deps, caller, request, message.idempotency_key || null));
  }),
  Get: unary<IdMessage, object>(deps, async ({ id = "" }, call) =>
    batchMessage((await requireBatch(deps.bus, call.caller.tenant, id)).batch),
  ),
  Cancel: unary<IdMessage, object>(deps, async ({ id = "" }, call) => batchMessage(await cancelBatch(deps.bus, call.caller.tenant, id))),
});

/** OpenAI's batch object, flat where its nesting says nothing; what is null there is absent here. */
function batchMessage(batch: Batch): object {
  const { errors, usage, ...object } = batchObject(batch);
  return {
    ...object,
    problems: errors?.data ?? [],
    usage: {
      input_tokens: usage.input_tokens,
      cached_tokens: usage.input_tokens_details.cached_tokens,
      output_tokens: usage.output_tokens,
      reasoning_tokens: usage.output_tokens_details.reasoning_tokens,
    },
  };
}
