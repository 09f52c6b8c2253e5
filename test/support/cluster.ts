import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { spawnLeashed } from "../../services/cli/cluster/leash.ts";

export interface LocalCluster {
  /** URL of each API replica. */
  readonly apis: readonly string[];
  /** host:port of each one's gRPC API. */
  readonly grpcs: readonly string[];
  /** Pids by process name, as they were at the start: `prefill-1`, ... */
  readonly pids: ReadonlyMap<string, number>;
  stop(): Promise<void>;
}

const START_MS = 120_000;

/** `longshore up --cluster` as a user starts it, from dist, on free ports, with a folder of its own. */
export async function startLocalCluster(env: Readonly<Record<string, string>> = {}): Promise<LocalCluster> {
  const state = mkdtempSync(join(tmpdir(), "longshore-cluster-"));
  const args = ["dist/services/cli/main.js", "up", "--cluster", "--free-ports", "--state", state];
  const child = spawnLeashed(process.execPath, args, { env: { ...process.env, ...env }, stdout: "pipe", stderr: "pipe" });
  const pids = new Map<string, number>();
  const grpcs: string[] = [];
  let output = "";
  child.stderr.on("data", (text: Buffer) => {
    output += text;
  });
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const stop = async () => {
    child.kill("SIGTERM");
    await exited;
    rmSync(state, { recursive: true, force: true });
  };
  const apis = await new Promise<string[]>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no cluster within ${START_MS} ms: ${output}`)), START_MS);
    child.once("exit", (code) => reject(new Error(`the cluster ended with ${code}: ${output}`)));
    createInterface({ input: child.stdout }).on("line", (line) => {
      output += `${line}\n`;
      const started = /^(\S+)\s+pid (\d+)/.exec(line);
      if (started !== null) pids.set(started[1]!, Number(started[2]));
      if (line.startsWith("gRPC at ")) grpcs.push(...(line.match(/[\d.]+:\d+/g) ?? []));
      if (!line.startsWith("ready: ")) return;
      clearTimeout(timer);
      resolve(line.match(/http:\/\/[\d.:]+/g) ?? []);
    });
  }).catch(async (error: unknown) => {
    await stop();
    throw error;
  });
  return { apis, grpcs, pids, stop };
}
