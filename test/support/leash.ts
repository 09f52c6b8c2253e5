import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import type { Writable } from "node:stream";

/** Descriptor of the pipe that ends with us. */
const LEASH = 3;

/**
 * A shell that becomes the program, so that the pid is the program's, and leaves a watcher behind: it reads a pipe that nobody writes to while
 * the program runs. A line says that the program has ended; an end of the pipe without one, that we have.
 */
const script = `(read over <&${LEASH} || kill -"$1" $$) >/dev/null 2>&1 & shift; exec "$@" ${LEASH}<&-`;

export interface LeashOptions extends Pick<SpawnOptions, "env"> {
  readonly stdio: readonly ["ignore", "ignore" | "pipe", "ignore" | "pipe" | "inherit"];
  /** What it gets when we are gone; by default SIGKILL, which ends a stopped process too. */
  readonly last?: "KILL" | "TERM";
}

/** Starts a program that does not outlive this process, however this process ends: Ctrl-C, `kill -9`, a crash. */
export function spawnLeashed(program: string, args: readonly string[], { stdio, env, last = "KILL" }: LeashOptions): ChildProcess {
  const child = spawn("sh", ["-c", script, "leash", last, program, ...args], { env, stdio: [...stdio, "pipe"] });
  const leash = child.stdio[LEASH] as Writable;
  leash.on("error", () => {}); // the watcher may be gone: somebody killed the whole group
  child.once("exit", () => leash.end("\n"));
  return child;
}
