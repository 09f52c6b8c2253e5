import { type Config, servedName } from "../runtime/config.ts";
import type { ServingError } from "../runtime/errors.ts";
import { coresPresent } from "../runtime/present.ts";
import type { Engine } from "./engine.ts";
import { Grammars } from "./grammar/grammars.ts";
import type { NativeSums } from "./kernels.ts";
import { Tokenizer } from "./tokenizer/tokenizer.ts";
import { openWeightlessEngine } from "./weightless/weightless.ts";

export interface OpenedEngine {
  readonly engine: Engine;
  /** The name clients use. */
  readonly model: string;
  /** Why it can do nothing any more; null while all is well. */
  readonly failure: () => ServingError | null;
  /** What an operator should know of the checkpoint, in words. */
  readonly warnings: readonly string[];
  /** Of the same model folder. */
  readonly tokenizer: Tokenizer;
  readonly grammars: Grammars;
}

/** What the API has taken, a worker takes even where it has a core less. */
const GRAMMAR_TIMES = { compileMs: 30_000, nextMs: 10_000 };

/** About every so manieth token of a weightless answer is its end. */
const WEIGHTLESS_EOS_ONE_IN = 200;

/** The engine and the tokenizer that a worker's configuration asks for. */
export async function engineFromConfig(config: Config): Promise<OpenedEngine> {
  const tokenizer = await Tokenizer.load(config.modelPath);
  const opened = config.engine === "weightless" ? weightless(config, tokenizer) : await native(config);
  const grammars = new Grammars(tokenizer.vocabulary(opened.engine.info.vocabSize), GRAMMAR_TIMES);
  return { ...opened, tokenizer, grammars, model: servedName(config) };
}

/** The kernels' sums where this configuration loads them anyway and they have some. */
export async function sumsFromConfig(config: Config): Promise<NativeSums | null> {
  return config.engine === "weightless" ? null : (await import("./kernels.ts")).nativeSums();
}

type EngineAlone = Pick<OpenedEngine, "engine" | "failure" | "warnings">;

/** Loads the kernels only where they are needed: the weightless engine runs on a machine that has none. */
async function native(config: Config): Promise<EngineAlone> {
  const { openNativeEngine } = await import("./native/engine.ts");
  const { modelPath, mode, plainKv, kernelPath, threads, segmentTokens, chunkTokens, batchMax, draftMax } = config;
  const engine = await openNativeEngine({
    modelPath,
    mode,
    plainKv: plainKv ? true : undefined,
    kernelPath: kernelPath === "" ? undefined : kernelPath,
    threads: threads === 0 ? coresPresent() : threads,
    segmentTokens,
    chunkTokens,
    batchMax,
    draftMax,
  });
  return { engine, failure: () => engine.failure, warnings: engine.warnings };
}

function weightless(config: Config, tokenizer: Tokenizer): EngineAlone {
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
  return { engine, failure: () => null, warnings: [] };
}
