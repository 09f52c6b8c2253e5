import { type ChildProcess, type ChildProcessByStdio, type SpawnOptions, spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";

/** Descriptor of the pipe that ends with us. */
const LEASH = 3;

/**
 * A shell that becomes the program, so that the pid is the program's, and leaves a watcher behind: it reads a pipe that nobody writes to while
 * the program runs. A line says that the program has ended; an end of the pipe without one, that we have.
 */
const script = `(read over <&${LEASH} || kill -KILL $$) >/dev/null 2>&1 & exec "$@" ${LEASH}<&-`;

type Output = "ignore" | "pipe" | "inherit";
type Of<O extends Output> = O extends "pipe" ? Readable : null;

interface LeashOptions<Out extends Output, Err extends Output> extends Pick<SpawnOptions, "env" | "cwd" | "detached"> {
  readonly stdout: Out;
  readonly stderr: Err;
}

/** Starts a program that does not outlive this process, however this process ends: Ctrl-C, a crash, `kill -9`. It is killed then, also where it is stopped. */
export function spawnLeashed<Out extends Output, Err extends Output>(
  program: string,
  args: readonly string[],
  { stdout, stderr, ...options }: LeashOptions<Out, Err>,
): ChildProcessByStdio<null, Of<Out>, Of<Err>> {
  const child: ChildProcess = spawn("sh", ["-c", script, "leash", program, ...args], {
    ...options,
    stdio: ["ignore", stdout, stderr, "pipe"],
  });
  const leash = child.stdio[LEASH] as Writable;
  leash.on("error", () => {}); // the watcher may be gone: somebody killed the whole group
  child.once("exit", () => leash.end("\n"));
  return child as ChildProcessByStdio<null, Of<Out>, Of<Err>>;
}
