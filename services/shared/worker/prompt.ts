import type { PayloadStore } from "../bus/contract.ts";
import type { JobRequest } from "../bus/events.ts";
import type { EngineInfo } from "../engine/engine.ts";
import { isUnavailable, refusal, ServingError } from "../runtime/errors.ts";
import { Interrupted } from "./interrupted.ts";

/**
 * The prompt's ids, from the event or from the payload store. Throws for a prompt this model can never take,
 * Interrupted (away) while the record is away.
 */
export async function promptOf(payloads: PayloadStore, request: JobRequest, info: EngineInfo): Promise<Int32Array> {
  const ids = "ids" in request.prompt ? request.prompt.ids : await storedIds(payloads, request.prompt.payload);
  if (ids.length !== request.promptTokens) {
    throw refusal(`the prompt has ${ids.length} tokens, but the request says ${request.promptTokens}`);
  }
  if (ids.length === 0) throw refusal("the prompt is empty; send at least one token");
  if (ids.length >= info.contextTokens) {
    throw new ServingError("CONTEXT_LENGTH", `the prompt has ${ids.length} tokens; this model takes at most ${info.contextTokens - 1}`);
  }
  return ids;
}

/** Ids are little-endian int32, as the API writes them and as every processor we run on represents them. */
async function storedIds(payloads: PayloadStore, key: string): Promise<Int32Array> {
  const bytes = await payloads.get(key).catch((thrown: unknown) => {
    throw isUnavailable(thrown) ? new Interrupted("away", "the record could not give the prompt") : thrown;
  });
  if (bytes === null) throw new ServingError("NOT_FOUND", "the prompt's payload is gone; send the request again");
  return new Int32Array(Uint8Array.from(bytes).buffer, 0, Math.floor(bytes.length / 4));
}
