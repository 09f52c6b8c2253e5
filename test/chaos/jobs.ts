import { TextStream } from "../../services/shared/engine/text.ts";
import { Tokenizer } from "../../services/shared/engine/tokenizer/tokenizer.ts";
import { seededRandom } from "../../services/shared/runtime/random.ts";
import { alone } from "../support/alone.ts";
import { requestOf } from "../support/workers.ts";
import { SEGMENT_TOKENS, settings } from "./cluster.ts";

/**
 * How a client asks: reads a stream, waits for the whole answer, or submits a job that lives without it and reads
 * later.
 */
export type Way = "stream" | "whole" | "detached";

export interface Job {
  readonly name: string;
  readonly way: Way;
  readonly ids: Int32Array;
  readonly maxTokens: number;
  readonly seed: number;
}

/** What the engine says on a quiet day. */
export interface Expected {
  readonly ids: readonly number[];
  readonly text: string;
  readonly reason: string;
}

const ways: readonly Way[] = ["stream", "stream", "stream", "whole", "detached"];
/**
 * Documents that many jobs ask about: their segments are shared, and computed by one of the jobs that wait for them.
 */
const DOCUMENTS = 12;
const DOCUMENT_TOKENS = 3_000;
/** One prompt of so many is too long for a message and travels through the payload store. */
const LONG_ONE_IN = 50;
const LONG_TOKENS = 18_000;

/** The jobs of a seed. */
export function jobsOf(seed: number, count: number, vocabSize: number): Job[] {
  const random = seededRandom(seed);
  const whole = (low: number, high: number) => low + (random.u32() % (high - low));
  const ids = (length: number) => Int32Array.from({ length }, () => whole(3, vocabSize));
  const documents = Array.from({ length: DOCUMENTS }, () => ids(DOCUMENT_TOKENS));
  return Array.from({ length: count }, (_, i) => {
    const document = documents[whole(0, DOCUMENTS)]!.subarray(0, whole(1, DOCUMENT_TOKENS));
    const own = ids(i % LONG_ONE_IN === LONG_ONE_IN - 1 ? LONG_TOKENS : whole(1, 600));
    return {
      name: `job ${i} of seed ${seed}`,
      way: ways[whole(0, ways.length)]!,
      ids: Int32Array.from(i % 3 === 0 ? own : [...document, ...own]),
      maxTokens: whole(1, 300),
      seed: random.u32(),
    };
  });
}

/** The engine's own answers to the same questions, without bus, store or network. */
export async function oracle(): Promise<{ vocabSize: number; answer(job: Job): Promise<Expected> }> {
  const tokenizer = await Tokenizer.load(settings.LONGSHORE_MODEL_PATH);
  const { vocabSize, stopIds, ids: named } = tokenizer;
  const engine = { vocabSize, eosId: named.eos, eosOneIn: 200, segmentTokens: SEGMENT_TOKENS };
  return {
    vocabSize,
    async answer({ ids, maxTokens, seed }) {
      const sampling = { temperature: 1, topP: 1, topK: 0, minP: 0, seed: BigInt(seed) };
      const { ids: answer, reason } = await alone(requestOf({ prompt: { ids }, maxTokens, sampling, stopIds: [...stopIds] }), engine);
      const text = new TextStream(tokenizer, []);
      return { ids: answer, reason, text: answer.map((id) => text.push(id)).join("") + text.flush() };
    },
  };
}
