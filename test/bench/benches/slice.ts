import { mkdtempSync, rmSync } from "node:fs";
import { freemem, tmpdir } from "node:os";
import { join } from "node:path";
import type { NativeBuffer } from "../../../services/shared/engine/kernels.ts";
import { freeSequence, type Sequence } from "../../../services/shared/engine/sequence.ts";
import { type Bench, notRun, repeated, type Scene } from "../bench.ts";
import { flopsOf } from "../flops.ts";
import { Slice } from "../slice.ts";
import { sliceConfig, sliceFile, weightBytes, writeSlice } from "../slice-model.ts";
import { summary } from "../stats.ts";
import { type MappedReader, openMappedReader } from "../yardsticks/mapped-reader.ts";
import { matrixPeak } from "../yardsticks/roofline.ts";

const CHUNK = 2_048;
const BATCH = 16;
const LONG = 131_072;
const STEPS = 16;
const DRAFT = 3;
/** What is read between two steps: as much as a step of one sequence. */
const READ_BYTES = 700_000_000;
/** Weights in the page cache, workspace, KV, and something for everybody else. */
const MEMORY_BYTES = 15_000_000_000;

/** Three layers of V4-Flash, one of each kind, at their real dimensions. */
export const slice: Bench = {
  name: "slice",
  about: "three layers with the dimensions of V4-Flash: chunks of a prompt beside matrix peak, steps beside memory",
  seconds: 240,
  async run(scene) {
    if (scene.tiny) return scene.report(notRun("slice", "it has one size"));
    if (freemem() < MEMORY_BYTES)
      return scene.report(notRun("slice", `it takes ${MEMORY_BYTES / 1e9} GB of memory, ${(freemem() / 1e9).toFixed(1)} are free`));
    const folder = mkdtempSync(join(tmpdir(), "longshore-slice-"));
    try {
      for (const share of writeSlice(folder)) scene.say(`slice: writing 10 GB of weights, ${Math.round(100 * share)} %`);
      await measured(scene, folder);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
};

async function measured(scene: Scene, folder: string): Promise<void> {
  const model = new Slice(folder, { threads: scene.machine.cores, chunk: CHUNK, batch: BATCH });
  const pages: NativeBuffer[] = [];
  try {
    scene.say("slice: looking at all weights");
    model.touch();
    pages.push(...model.pages(LONG));
    await prefillRow(scene, model, "slice.prefill.0", []);
    await prefillRow(scene, model, "slice.prefill.128k", pages);
    await decodeRows(scene, model, join(folder, sliceFile), pages);
    await withSequences(model, 1, pages, (sequences) => hyperRow(scene, model, "slice.prefill.hyper", sequences, CHUNK, 0.05));
    await withSequences(model, 1, pages, (sequences) => hyperRow(scene, model, "slice.decode.hyper", sequences, 1, 0.03));
  } finally {
    for (const page of pages) page.release();
    model.close();
  }
}

async function prefillRow(scene: Scene, model: Slice, key: string, pages: readonly NativeBuffer[]): Promise<void> {
  const peak = await matrixPeak(scene);
  if (peak === null) return scene.report(notRun(key, "the matrix peak is not known: run `npm run bench`"));
  const start = pages.length === 0 ? 0 : LONG;
  const { dense, scored } = flopsOf(sliceConfig, start + CHUNK);
  const before = flopsOf(sliceConfig, start);
  const flops = dense - before.dense + scored - before.scored;
  const figure = () => withSequences(model, 1, pages, async (sequences) => flops / (await model.seconds(sequences, CHUNK)));
  const reached = summary(peak.figures).median;
  const figures = await repeated(scene, key, figure);
  const yardstick = { name: peak.key, figures: peak.figures };
  const ratios = figures.map((value) => value / reached);
  scene.report({ key, unit: "OP/s", figures, yardstick, ratios, goal: { atLeast: 0.45 }, note: model.path });
}

async function decodeRows(scene: Scene, model: Slice, file: string, pages: readonly NativeBuffer[]): Promise<void> {
  const reader = await openMappedReader(file, { cores: scene.machine.cores, bytes: READ_BYTES });
  try {
    await withSequences(model, 1, [], async (sequences) => {
      await model.seconds(sequences, CHUNK);
      await decodeRow(scene, model, reader, "slice.decode.batch-1", sequences);
      await draftRow(scene, model, sequences);
    });
    for (const batch of [1, BATCH])
      await withSequences(model, batch, pages, (sequences) =>
        decodeRow(scene, model, reader, `slice.decode.batch-${batch}.128k`, sequences),
      );
  } finally {
    reader.close();
  }
}

/** Bytes of weights a second, by turns with a reader of the same pages. Sequences share one copy of all pages. */
async function decodeRow(scene: Scene, model: Slice, reader: MappedReader, key: string, sequences: readonly Sequence[]): Promise<void> {
  const reading: number[] = [];
  const figures: number[] = [];
  for (let i = 0; i < STEPS; i++) {
    scene.say(`${key} ${i + 1}/${STEPS}`);
    reading.push(await reader.rate());
    const { experts } = model.profile(sequences, 1); // the step that is timed routes in its own way; on average, alike
    figures.push(weightBytes(experts) / (await model.seconds(sequences, 1)));
  }
  const ratios = figures.map((value, i) => value / reading[i]!);
  const goal = sequences.length === 1 ? { goal: { atLeast: 0.75 } } : {};
  scene.report({ key, unit: "B/s", figures, yardstick: { name: "mapped read", figures: reading }, ratios, ...goal, note: model.path });
}

/** What a draft that is right saves: tokens a second of steps that run it, by turns with steps of one token. Random tokens meet experts of their own, so that it costs the most it can. */
async function draftRow(scene: Scene, model: Slice, sequences: readonly Sequence[]): Promise<void> {
  const alone: number[] = [];
  const figures: number[] = [];
  for (let i = 0; i < STEPS; i++) {
    scene.say(`slice.decode.draft ${i + 1}/${STEPS}`);
    alone.push(1 / (await model.seconds(sequences, 1)));
    figures.push((1 + DRAFT) / (await model.seconds(sequences, 1 + DRAFT)));
  }
  const ratios = figures.map((rate, i) => rate / alone[i]!);
  const yardstick = { name: "steps of one token", figures: alone };
  scene.report({ key: "slice.decode.draft", unit: "tokens/s", figures, yardstick, ratios, note: `a draft of ${DRAFT}; ${model.path}` });
}

/** The share of mixing the residual streams in all of the layers' time. */
async function hyperRow(
  scene: Scene,
  model: Slice,
  key: string,
  sequences: readonly Sequence[],
  tokens: number,
  atMost: number,
): Promise<void> {
  const times = await repeated(scene, key, async () => model.profile(sequences, tokens).time);
  const figures = times.map((time) => time.share("hcPre", "hcPost", "hcHead"));
  scene.report({ key, unit: "", figures, goal: { atMost }, note: times.at(-1)!.summary() });
}

async function withSequences<T>(
  model: Slice,
  count: number,
  pages: readonly NativeBuffer[],
  use: (sequences: readonly Sequence[]) => Promise<T>,
): Promise<T> {
  const sequences = Array.from({ length: count }, () => model.open(pages));
  try {
    return await use(sequences);
  } finally {
    for (const sequence of sequences) freeSequence(sequence);
  }
}
