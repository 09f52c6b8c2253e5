import { startApi } from "../../services/api/api.ts";
import { openServedModel, type ServedModel } from "../../services/api/model.ts";
import type { Bus, Claim } from "../../services/shared/bus/contract.ts";
import type { JobRequest } from "../../services/shared/bus/events.ts";
import { openBus } from "../../services/shared/bus/open.ts";
import { type Clock, systemClock } from "../../services/shared/runtime/clock.ts";
import { type Config, loadConfig } from "../../services/shared/runtime/config.ts";
import { type Logger, silentLog } from "../../services/shared/runtime/log.ts";
import { openMetrics } from "../../services/shared/runtime/metrics.ts";
import { systemRandom } from "../../services/shared/runtime/random.ts";
import { decode } from "./decode.ts";

export interface TestApi {
  readonly url: string;
  /** host:port; null unless `grpcPort` is set. */
  readonly grpc: string | null;
  readonly bus: Bus;
  readonly tokenizer: ServedModel["tokenizer"];
  close(): Promise<void>;
}

/**
 * By settings, and shared by all tests of a file, most of which take less time than a tokenizer's thread takes to
 * start.
 */
const models = new Map<string, Promise<ServedModel>>();

function modelOf(config: Config): Promise<ServedModel> {
  const key = JSON.stringify(config);
  const model = models.get(key) ?? openServedModel(config);
  models.set(key, model);
  return model;
}

/** An API on a free port over a bus in memory, with the demonstration model's tokenizer. */
export async function testApi(
  settings: Partial<Config> = {},
  bus: Bus = openBus({ url: "memory:" }),
  clock: Clock = systemClock,
  log: Logger = silentLog,
): Promise<TestApi> {
  const config: Config = { ...loadConfig({}), port: 0, ...settings };
  const model = await modelOf(config);
  const api = await startApi({ config, bus, model, clock, random: systemRandom, log, metrics: openMetrics() });
  return { url: api.url, grpc: api.grpc, bus, tokenizer: model.tokenizer, close: () => api.close() };
}

export interface Script {
  /** Ids of the answer, the stop id not included. */
  readonly ids: readonly number[];
  /** Called with the claim after `ids` were appended, instead of finishing. */
  readonly end?: (claim: Claim, request: JobRequest) => Promise<void>;
}

/** Takes the next job through both phases as a worker would, with an answer that is given. Resolves to its request. */
export async function playJob(bus: Bus, model: string, { ids, end }: Script): Promise<JobRequest> {
  const [first, ...rest] = ids;
  const prefill = await take(bus, "prefill", model);
  const request = prefill.request;
  await prefill.claim.append({ type: "progress", done: request.promptTokens, total: request.promptTokens, stored: 0, cached: 0 });
  await prefill.claim.append({
    type: "handed_over",
    token: first!,
    boundary: request.promptTokens,
    cached: 0,
    recomputed: request.promptTokens,
  });
  await bus.queue.publish("decode", model, request.lane, { jobId: prefill.claim.jobId, promptTokens: request.promptTokens });
  prefill.ack();
  const decode = await take(bus, "decode", model);
  for (const [i, id] of rest.entries()) await decode.claim.append({ type: "tokens", first: i + 1, ids: [id] });
  if (end !== undefined) await end(decode.claim, request);
  else {
    const usage = { promptTokens: request.promptTokens, completionTokens: ids.length, cachedTokens: 0 };
    await decode.claim.append({ type: "finished", reason: "stop", usage });
  }
  decode.ack();
  return request;
}

/** Takes the next job through both phases with `text` for its answer. Resolves to its request. */
export async function playText(api: TestApi, text: string, end?: Script["end"]): Promise<JobRequest> {
  return playJob(api.bus, "yardlog", { ids: [...(await api.tokenizer.encode(text))], ...(end === undefined ? {} : { end }) });
}

/** The prompt as text. */
export async function promptOf(api: TestApi, { prompt }: JobRequest): Promise<string> {
  if (!("ids" in prompt)) throw new Error("the prompt is too long for this test");
  return decode(api.tokenizer, prompt.ids);
}

async function take(bus: Bus, phase: "prefill" | "decode", model: string): Promise<{ claim: Claim; request: JobRequest; ack: () => void }> {
  const message = await bus.queue.pull(phase, model, 60_000, new AbortController().signal);
  if (message === null) throw new Error(`no ${phase} message came`);
  const result = await bus.log.claim(message.item.jobId, phase, "scripted");
  if (result.kind !== "claimed") throw new Error(`claim: ${result.kind}`);
  const [submitted] = await bus.log.read(message.item.jobId);
  if (submitted?.event.type !== "submitted") throw new Error("the log does not begin with submitted");
  return { claim: result.claim, request: submitted.event.request, ack: () => message.ack() };
}
