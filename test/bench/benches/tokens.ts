import { type IncomingMessage, request } from "node:http";
import { freePort } from "../../../services/cli/cluster/ports.ts";
import type { Bus, Claim } from "../../../services/shared/bus/contract.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { Tokenizer } from "../../../services/shared/engine/tokenizer/tokenizer.ts";
import { held } from "../../support/bus.ts";
import { NatsServer } from "../../support/nats.ts";
import { RoleProcess } from "../../support/role-process.ts";
import { type Bench, repeated, secondsOf } from "../bench.ts";

const MODEL_PATH = "deploy/models/yardlog";
const MODEL = "yardlog";
const STREAMS = 64;
/** Tokens of an event, as a decode worker flushes them. */
const FLUSH = 8;

/** An API process and real NATS; this process writes as a decode worker with a full batch does, and reads all the streams. */
export const tokens: Bench = {
  name: "tokens",
  about: "token events appended to the log, fanned out, and read as server-sent events",
  async run(scene) {
    const nats = await NatsServer.start();
    const port = await freePort();
    const bus = openBus({ url: nats.url });
    await bus.ready(10_000);
    const env = { LONGSHORE_NATS_URL: nats.url, LONGSHORE_PORT: String(port), LONGSHORE_MODEL_PATH: MODEL_PATH };
    const api = await RoleProcess.start("api", env);
    try {
      const ids = Array.from(await (await Tokenizer.load(MODEL_PATH)).encode("Container red-fox is stowed in bay 42. "));
      const answer = Array.from({ length: FLUSH }, (_, i) => ids[i % ids.length]!);
      await rate(bus, port, answer, scene.tiny ? 4 : 64); // code and connections warm
      const figures = await repeated(scene, "tokens", () => rate(bus, port, answer, scene.tiny ? 8 : 512));
      scene.report({
        key: "tokens.sse",
        unit: "tokens/s",
        figures,
        goal: { atLeast: 50_000 },
        note: `${STREAMS} streams, ${FLUSH} tokens an event`,
      });
    } finally {
      await api.kill();
      await bus.close();
      await nats.stop();
    }
  },
};

/** Tokens per second from the first append to the end of the last stream. */
async function rate(bus: Bus, port: number, ids: readonly number[], events: number): Promise<number> {
  const streams = await Promise.all(Array.from({ length: STREAMS }, () => openStream(port, events * FLUSH + 1)));
  const claims = await Promise.all(streams.map(() => toDecode(bus)));
  const seconds = await secondsOf(async () => {
    await Promise.all(claims.map((claim) => write(claim, ids, events)));
    const texts = await Promise.all(streams.map(({ ended }) => ended));
    if (!texts.every((text) => text.endsWith("data: [DONE]\n\n"))) throw new Error("a stream was cut off");
  });
  return (STREAMS * events * FLUSH) / seconds;
}

async function write(claim: Claim, ids: readonly number[], events: number): Promise<void> {
  for (let i = 0; i < events; i++) {
    if ((await claim.append({ type: "tokens", first: 1 + i * FLUSH, ids })) === null) throw new Error("the claim was lost");
  }
  const usage = { promptTokens: 1, completionTokens: events * FLUSH + 1, cachedTokens: 0 };
  await claim.append({ type: "finished", reason: "length", usage });
}

interface Stream {
  /** The last bytes of the stream, once it ended. */
  readonly ended: Promise<string>;
}

/** Resolves with the first byte: from then on the API follows the job. */
function openStream(port: number, maxTokens: number): Promise<Stream> {
  const body = JSON.stringify({ model: MODEL, prompt: "Where is container red-fox?", max_tokens: maxTokens, stream: true });
  return new Promise((resolve, reject) => {
    const headers = { "content-type": "application/json" };
    const sent = request({ port, host: "127.0.0.1", path: "/v1/completions", method: "POST", headers, agent: false }, (response) => {
      const ended = lastBytes(response);
      ended.catch(() => {});
      response.once("readable", () => resolve({ ended }));
    });
    sent.once("error", reject).end(body);
  });
}

async function lastBytes(response: IncomingMessage): Promise<string> {
  let last = "";
  for await (const chunk of response) last = (last + String(chunk)).slice(-100);
  return last;
}

/** Takes the next job through prefill, and into the hands of decode. */
async function toDecode(bus: Bus): Promise<Claim> {
  const prefill = await bus.queue.pull("prefill", MODEL, 10_000, new AbortController().signal);
  if (prefill === null) throw new Error("no job came");
  const { jobId, promptTokens } = prefill.item;
  const claim = held(await bus.log.claim(jobId, "prefill", "bench"));
  await claim.append({ type: "handed_over", token: 100, boundary: promptTokens, cached: 0, recomputed: 0 });
  prefill.ack();
  return held(await bus.log.claim(jobId, "decode", "bench"));
}
