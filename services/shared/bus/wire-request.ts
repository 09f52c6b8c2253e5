import { ServingError } from "../runtime/errors.ts";
import type { JobRequest, Lane } from "./events.ts";
import { boolean, choice, type Fields, floating, ints, list, message, text, unsigned64, whole } from "./fields.ts";

const VIEW_BYTES_MAX = 65_536;

/**
 * Lanes by their numbers on the wire. A surplus job is an interactive one with a mark, and earlier versions read it as
 * such.
 */
const wireLanes: readonly Lane[] = ["interactive", "batch"];

/** A request as a protobuf message. Throws TOO_LARGE if its view is too large. */
export function requestToWire(request: JobRequest): object {
  const { prompt, sampling, lane, ...rest } = request;
  if (Buffer.byteLength(request.view) > VIEW_BYTES_MAX) {
    throw new ServingError("TOO_LARGE", `what the API keeps of a request (\`view\`) must be at most ${VIEW_BYTES_MAX} bytes`);
  }
  const seed = { low: Number(sampling.seed & 0xffffffffn), high: Number((sampling.seed >> 32n) & 0xffffffffn), unsigned: true };
  const source = "ids" in prompt ? { inline: { ids: prompt.ids } } : { payload: prompt.payload };
  return {
    ...rest,
    ...source,
    lane: Math.max(0, wireLanes.indexOf(lane)),
    ...(lane === "surplus" && { surplus: true }),
    sampling: { ...sampling, seed },
  };
}

/** Throws if a field is not what it must be. */
export function requestFromWire(fields: Fields): JobRequest {
  return {
    model: text(fields.model),
    tenant: text(fields.tenant),
    lane: boolean(fields.surplus) ? "surplus" : choice(wireLanes, fields.lane),
    prompt: fields.prompt === "payload" ? { payload: text(fields.payload) } : { ids: idsOf(message(fields.inline).ids) },
    promptTokens: whole(fields.promptTokens),
    maxTokens: whole(fields.maxTokens),
    sampling: samplingFromWire(message(fields.sampling)),
    ...(Object.hasOwn(fields, "constraint") && { constraint: constraintFromWire(message(fields.constraint)) }),
    stop: list(fields.stop).map(text),
    stopIds: ints(fields.stopIds),
    deadlineMs: whole(fields.deadlineMs),
    detached: boolean(fields.detached),
    view: text(fields.view),
  };
}

const idsOf = (value: unknown): Int32Array => (value instanceof Int32Array ? value : Int32Array.from(ints(value)));

const samplingFromWire = (fields: Fields): JobRequest["sampling"] => ({
  temperature: floating(fields.temperature),
  topP: floating(fields.topP),
  topK: floating(fields.topK),
  minP: floating(fields.minP),
  seed: unsigned64(fields.seed),
  ...(Object.hasOwn(fields, "bias") && { bias: biasFromWire(message(fields.bias)) }),
  ...(Object.hasOwn(fields, "presencePenalty") && { presencePenalty: floating(fields.presencePenalty) }),
  ...(Object.hasOwn(fields, "frequencyPenalty") && { frequencyPenalty: floating(fields.frequencyPenalty) }),
  ...(Object.hasOwn(fields, "topLogprobs") && { topLogprobs: floating(fields.topLogprobs) }),
});

const constraintFromWire = (fields: Fields): NonNullable<JobRequest["constraint"]> => ({
  schema: text(fields.schema),
  ...(Object.hasOwn(fields, "after") && { after: floating(fields.after) }),
  ...(list(fields.instead).length > 0 && { instead: ints(fields.instead) }),
  ...(Object.hasOwn(fields, "blank") && { blank: whole(fields.blank) }),
});

const biasFromWire = ({ ids, values }: Fields) => ({ ids: ints(ids), values: list(values).map(floating) });
