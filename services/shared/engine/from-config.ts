import { availableParallelism } from "node:os";
import { type Config, servedName } from "../runtime/config.ts";
import type { ServingError } from "../runtime/errors.ts";
import type { Engine } from "./engine.ts";
import { Grammars } from "./grammar/grammars.ts";
import type { NativeSums } from "./kernels.ts";
import { Tokenizer } from "./tokenizer/tokenizer.ts";
import { openWeightlessEngine } from "./weightless/weightless.ts";

export interface OpenedEngine {
  readonly engine: Engine;
  /** The name clients use. */
  readonly model: string;
  /** Why the engine cannot go on; null while it works. */
  readonly failure: () => ServingError | null;
  /** The tokenizer of the same model folder. */
  readonly tokenizer: Tokenizer;
  readonly grammars: Grammars;
}

/** Longer than the API's: a worker takes what the API has taken, even with a core less. */
const GRAMMAR_TIMES = { compileMs: 30_000, nextMs: 10_000 };

/** A weightless answer ends at about one token in this many. */
const WEIGHTLESS_EOS_ONE_IN = 200;

/** The engine and the tokenizer that a worker's configuration asks for. */
export async function engineFromConfig(config: Config): Promise<OpenedEngine> {
  const tokenizer = await Tokenizer.load(config.modelPath);
  const { engine, failure } = config.engine === "weightless" ? weightless(config, tokenizer) : await native(config);
  const grammars = new Grammars(tokenizer.vocabulary(engine.info.vocabSize), GRAMMAR_TIMES);
  return { engine, failure, tokenizer, grammars, model: servedName(config) };
}

/** The kernels' CRC-32 where this configuration loads the kernels anyway; null where it does not or they have none. */
export async function sumsFromConfig(config: Config): Promise<NativeSums | null> {
  return config.engine === "weightless" ? null : (await import("./kernels.ts")).nativeSums();
}

/** Imports the kernels only here: the weightless engine runs on a machine that has none. */
async function native(config: Config): Promise<Pick<OpenedEngine, "engine" | "failure">> {
  const { openNativeEngine } = await import("./native/engine.ts");
  const { modelPath, mode, plainKv, kernelPath, threads, segmentTokens, chunkTokens, batchMax, draftMax } = config;
  const engine = await openNativeEngine({
    modelPath,
    mode,
    plainKv: plainKv ? true : undefined,
    kernelPath: kernelPath === "" ? undefined : kernelPath,
    threads: threads === 0 ? availableParallelism() : threads,
    segmentTokens,
    chunkTokens,
    batchMax,
    draftMax,
  });
  return { engine, failure: () => engine.failure };
}

function weightless(config: Config, tokenizer: Tokenizer): Pick<OpenedEngine, "engine" | "failure"> {
  const { segmentTokens, chunkTokens, batchMax, draftMax, weightlessChunkMs, weightlessStepMs } = config;
  const engine = openWeightlessEngine({
    vocabSize: tokenizer.vocabSize,
    eosId: tokenizer.ids.eos,
    eosOneIn: WEIGHTLESS_EOS_ONE_IN,
    segmentTokens,
    chunkTokens,
    batchMax,
    draftMax,
    chunkMs: weightlessChunkMs,
    stepMs: weightlessStepMs,
  });
  return { engine, failure: () => null };
}
