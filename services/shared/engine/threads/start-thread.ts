import { Worker, type WorkerOptions } from "node:worker_threads";

/**
 * Starts a thread whose code is in `file`, given without its extension, beside
 * the caller's (`import.meta.url`). Without a build (tests, development) it goes
 * through a loader, because workers do not inherit the one that reads TypeScript.
 */
export function startThread(caller: string, file: string, options: WorkerOptions): Worker {
  if (!caller.endsWith(".ts")) return new Worker(new URL(`${file}.js`, caller), options);
  const loader = new URL("./thread-from-sources.mjs", import.meta.url);
  return new Worker(loader, { ...options, argv: [new URL(`${file}.ts`, caller).href] });
}
