import { findModelConfig } from "../../../services/cli/sizes.ts";
import type { Engine, SequenceId } from "../../../services/shared/engine/engine.ts";
import { engineFromConfig } from "../../../services/shared/engine/from-config.ts";
import { loadConfig } from "../../../services/shared/runtime/config.ts";
import { type Bench, type Goal, type Row, repeated, secondsOf } from "../bench.ts";
import { randomIds } from "../engine-cluster.ts";
import { flopsOf } from "../flops.ts";
import { greedy, prefilled } from "../prefilled.ts";
import { summary } from "../stats.ts";
import { matrixPeak } from "../yardsticks/roofline.ts";

const K = 1_024;
const STEPS = 256;
const model = findModelConfig("deploy/models/yardlog").config;

export const yardlog: Bench = {
  name: "yardlog",
  about: "the demonstration model, whole engine: prompts of 4K, 64K and 256K tokens, steps at 4K",
  run: (scene) =>
    withEngine(async (engine) => {
      const peak = await matrixPeak(scene);
      const dense: number[] = [];
      const steps: number[] = [];
      await repeated(scene, "4k", async () => {
        const { sequence, seconds } = await prefilled(engine, randomIds(engine, 4 * K, 1));
        dense.push(seconds / (4 * K));
        steps.push(await stepRate(engine, sequence));
        await engine.close(sequence);
      });
      const note = engine.info.kernelPath;
      scene.report({
        key: "yardlog.prefill.4k",
        unit: "us/token",
        figures: dense.map((each) => 1e6 * each),
        note,
        ...denseGoal(peak?.key),
      });
      scene.report({ key: "yardlog.decode.4k", unit: "tokens/s", figures: steps, note });
      for (const tokens of scene.tiny ? [8 * K] : [64 * K, 256 * K]) {
        const figures: number[] = [];
        await repeated(scene, `${tokens / K}k`, async () => {
          const { sequence, seconds } = await prefilled(engine, randomIds(engine, tokens, 1));
          figures.push(seconds);
          await engine.close(sequence);
        });
        scene.report(longRow(tokens, figures, summary(dense).median, peak?.figures ?? null, note));
      }
    }),
};

export const yardlogMillion: Bench = {
  name: "yardlog-1m",
  about: "the demonstration model, whole engine: one prompt of a million tokens, steps behind it",
  run: (scene) =>
    withEngine(async (engine) => {
      const tokens = scene.tiny ? 16 * K : 1_024 * K - STEPS - 1;
      const peak = await matrixPeak(scene);
      scene.say("1m");
      const { sequence, seconds } = await prefilled(engine, randomIds(engine, tokens, 1), (done) =>
        scene.say(`1m: ${Math.round((100 * done) / tokens)} %`),
      );
      const note = engine.info.kernelPath;
      const strong = peak !== null && summary(peak.figures).median >= 6e12;
      scene.report({ key: "yardlog.prefill.1m", unit: "s", figures: [seconds], note, ...(strong ? { goal: { atMost: 120 } } : {}) });
      const flops = flopsOf(model, tokens);
      const rate = (flops.dense + flops.scored) / seconds;
      if (peak !== null) {
        const reached = summary(peak.figures).median;
        const yardstick = { name: peak.key, figures: [reached] };
        scene.report({
          key: "yardlog.flops.1m",
          unit: "OP/s",
          figures: [rate],
          yardstick,
          ratios: [rate / reached],
          goal: { atLeast: 0.2 },
        });
      }
      scene.report({ key: "yardlog.decode.1m", unit: "tokens/s", figures: [await stepRate(engine, sequence)], note });
    }),
};

async function withEngine(use: (engine: Engine) => Promise<void>): Promise<void> {
  const { engine } = await engineFromConfig(loadConfig({}));
  try {
    await use(engine);
  } finally {
    await engine.shutdown();
  }
}

/** Tokens per second of one sequence alone. */
async function stepRate(engine: Engine, sequence: SequenceId): Promise<number> {
  let token = 3;
  const seconds = await secondsOf(async () => {
    for (let i = 0; i < STEPS; i++) {
      const [result] = await engine.step([{ sequence, token, sample: greedy }]);
      if (result === undefined || "failed" in result) throw result?.failed ?? new Error("a step without a result");
      token = result.drawn[0]!.token;
      for (const { payload } of result.sealed) payload.release();
    }
  });
  return STEPS / seconds;
}

/** Where neither unit is there, the cost is reported and held against nothing. */
function denseGoal(unit: string | undefined): { goal?: Goal } {
  if (unit === "peak.bf16.amx") return { goal: { atMost: 20 } };
  return unit === "peak.bf16.avx512" ? { goal: { atMost: 70 } } : {};
}

/** Beside what every token costs at 4K, and what is due to length at 45 % of the matrix peak. */
function longRow(tokens: number, figures: readonly number[], denseSeconds: number, peak: readonly number[] | null, note: string): Row {
  const key = `yardlog.prefill.${tokens / K}k`;
  if (peak === null) return { key, unit: "s", figures, note };
  const due = denseSeconds * tokens + flopsOf(model, tokens).scored / (0.45 * summary(peak).median);
  const yardstick = { name: "dense + scored at 45 % of peak", figures: [due] };
  return { key, unit: "s", figures, yardstick, ratios: figures.map((value) => value / due), goal: { atMost: 1.25 }, note };
}
