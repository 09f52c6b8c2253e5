import { fork } from "node:child_process";
import { once } from "node:events";
import { readFileSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { findModelConfig } from "../../../services/cli/sizes.ts";
import { workspaceBytes } from "../../../services/shared/engine/forward/workspace.ts";
import { payloadLayout } from "../../../services/shared/engine/layout.ts";
import { kvSizes } from "../../../services/shared/engine/sizes.ts";
import { loadConfig } from "../../../services/shared/runtime/config.ts";
import { type Bench, notRun, repeated } from "../bench.ts";
import { engineCluster, randomIds } from "../engine-cluster.ts";
import { nowhere } from "../nowhere.ts";

const MODEL = "deploy/models/yardlog";
const TOKENS = 262_144;

/** A prefill worker in a process of its own, from nothing to the end of a long prompt. */
export const memory: Bench = {
  name: "memory",
  about: "what a worker's process takes at 256K tokens of context, beside KV and workspace by arithmetic",
  async run(scene) {
    if (process.platform !== "linux") return scene.report(notRun("memory.yardlog.256k", "memory is told by /proc, which only Linux has"));
    const tokens = scene.tiny ? 4_096 : TOKENS;
    const told = await repeated(scene, "memory", () => inOwnProcess(tokens));
    const due = dueBytes(tokens);
    const report = (key: string, figures: readonly number[], note: string) => {
      const yardstick = { name: "KV + workspace", figures: [due] };
      scene.report({ key, unit: "B", yardstick, goal: { atMost: 1.3 }, figures, ratios: figures.map((bytes) => bytes / due), note });
    };
    report(
      "memory.yardlog.256k",
      told.map(({ resident }) => resident),
      "Node itself among them",
    );
    report(
      "memory.yardlog.256k.work",
      told.map(({ grown }) => grown),
      "what the job adds to a worker that waits for its first",
    );
  },
};

function dueBytes(tokens: number): number {
  const { chunkTokens, batchMax, segmentTokens, mode } = loadConfig({});
  const { config } = findModelConfig(MODEL);
  const layout = payloadLayout(config, { mode, segmentTokens });
  const kv = kvSizes(config, layout);
  const work = workspaceBytes(config, layout, mode === "exact" ? "F32" : "BF16", {
    rowsMax: Math.max(chunkTokens, batchMax),
    logitRows: batchMax,
  });
  return kv.bytesPerToken * tokens + kv.windowBytes + kv.compressorBytes + work;
}

interface Told {
  /** Most bytes resident, without the mapped weights. */
  readonly resident: number;
  /** Most bytes of memory of its own, less those before the job. */
  readonly grown: number;
}

async function inOwnProcess(tokens: number): Promise<Told> {
  const child = fork(fileURLToPath(import.meta.url), [String(tokens)]);
  const ended = once(child, "exit").then(([code]) => Promise.reject(new Error(`the worker ended with ${code}`)));
  ended.catch(() => {});
  const [told] = (await Promise.race([once(child, "message"), ended])) as [Told];
  return told;
}

async function work(tokens: number): Promise<Told> {
  const cluster = await engineCluster();
  const idle = status("RssAnon");
  let peak = idle;
  const look = setInterval(() => {
    peak = Math.max(peak, status("RssAnon"));
  }, 50);
  cluster.start("prefill", nowhere);
  await cluster.until(await cluster.submit(randomIds(cluster.engine, tokens, 1), 1), "handed_over");
  clearInterval(look);
  const resident = status("VmHWM") - statSync(`${MODEL}/model.safetensors`).size;
  await cluster.close();
  return { resident, grown: peak - idle };
}

const status = (field: string): number =>
  1_024 * Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(readFileSync("/proc/self/status", "utf8"))?.[1]);

if (process.send !== undefined && process.argv[1] === fileURLToPath(import.meta.url)) {
  process.send(await work(Number(process.argv[2])), () => process.exit());
}
