import { cpus } from "node:os";
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
  /** Why the engine cannot go on; null while it works. */
  readonly failure: () => ServingError | null;
  /** What an operator should know of the engine as it was opened, in words. */
  readonly warnings: readonly string[];
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
  const opened = config.engine === "weightless" ? weightless(config, tokenizer) : await native(config);
  const grammars = new Grammars(tokenizer.vocabulary(opened.engine.info.vocabSize), GRAMMAR_TIMES);
  return { ...opened, tokenizer, grammars, model: servedName(config) };
}

/** The kernels' CRC-32 where this configuration loads the kernels anyway; null where it does not or they have none. */
export async function sumsFromConfig(config: Config): Promise<NativeSums | null> {
  return config.engine === "weightless" ? null : (await import("./kernels.ts")).nativeSums();
}

type EngineAlone = Pick<OpenedEngine, "engine" | "failure" | "warnings">;

/** Imports the kernels only here: the weightless engine runs on a machine that has none. */
async function native(config: Config): Promise<EngineAlone> {
  const { openNativeEngine } = await import("./native/engine.ts");
  const { listPaths, slowPathWarning } = await import("./kernels.ts");
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
  const processor = cpus()[0]?.model ?? process.arch;
  const slow = kernelPath === "" ? slowPathWarning(engine.info.kernelPath, listPaths, processor) : null;
  return { engine, failure: () => engine.failure, warnings: slow === null ? engine.warnings : [...engine.warnings, slow] };
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
