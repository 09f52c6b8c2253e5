import type { ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { spawnLeashed } from "../../services/cli/cluster/leash.ts";
import { freePort } from "../../services/cli/cluster/ports.ts";
import { freeze } from "./freeze.ts";

/** A redis-server of the test's own: loopback, a free port, a folder of its own, nothing kept. */
export interface RedisServer {
  readonly port: number;
  readonly url: string;
  readonly socketPath: string;
  /** A plain client beside the store under test. */
  readonly client: Redis;
  flush(): Promise<void>;
  /** kill -9, and waits until the process is gone. */
  kill(): Promise<void>;
  /** An empty server on the same port. Ends the one that runs. */
  restart(): Promise<void>;
  /** Connections stay open and nothing answers from the moment this resolves. */
  pause(): Promise<void>;
  resume(): void;
  stop(): Promise<void>;
}

const STARTING_MS_MAX = 60_000;

/** `args` are appended to the command line: `["--maxmemory", "8mb"]`. */
export async function startRedis(args: readonly string[] = []): Promise<RedisServer> {
  const folder = await mkdtemp(join(tmpdir(), "longshore-redis-"));
  const socketPath = join(folder, "redis.sock");
  const port = await freePort();
  const base = [
    ["--port", String(port), "--bind", "127.0.0.1", "--unixsocket", socketPath],
    ["--dir", folder, "--save", "", "--appendonly", "no"],
  ].flat();
  const start = () => launch([...base, ...args]);
  let process = await start();
  const client = new Redis({ port, host: "127.0.0.1", protocol: 2, retryStrategy: () => 20, maxRetriesPerRequest: null });
  client.on("error", () => {});
  const kill = () => end(process, "SIGKILL");
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    socketPath,
    client,
    flush: async () => void (await client.flushall()),
    kill,
    restart: async () => {
      await kill();
      process = await start();
    },
    pause: () => freeze(process),
    resume: () => void process.kill("SIGCONT"),
    stop: async () => {
      client.disconnect();
      await kill();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Resolves once it says that it accepts connections. */
async function launch(args: readonly string[]): Promise<ChildProcess> {
  const child = spawnLeashed("redis-server", args, { stdout: "pipe", stderr: "inherit" });
  await new Promise<void>((resolve, reject) => {
    let said = "";
    const late = setTimeout(() => reject(new Error(`redis-server was not ready after ${STARTING_MS_MAX} ms:\n${said}`)), STARTING_MS_MAX);
    child.once("error", reject);
    child.once("exit", () => reject(new Error(`redis-server ended:\n${said}`)));
    child.stdout?.on("data", (chunk: Buffer) => {
      said += chunk.toString();
      if (!said.includes("Ready to accept connections")) return;
      clearTimeout(late);
      child.stdout?.removeAllListeners("data").resume();
      resolve();
    });
  });
  return child;
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill(signal);
  await gone;
}
