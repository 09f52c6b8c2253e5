import type { ChildProcess } from "node:child_process";
import { spawnLeashed } from "../../services/cli/cluster/leash.ts";
import { freeze } from "./freeze.ts";
import { program } from "./program.ts";

export type Role = "api" | "prefill" | "decode" | "batch-coordinator";

/** How a process ended: by itself or drained (`code`), or by a signal. */
export interface End {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Node's arguments for the command line. */
export const commandLine = (...args: readonly string[]): readonly string[] => [...program("services/cli/main.ts"), ...args];

const READY_MS = 120_000;
/** Characters that are kept of a process's output. */
const OUTPUT_MAX = 20_000;

/** A role of the cluster as an operating system process. */
export class RoleProcess {
  readonly #child: ChildProcess;
  /** Never rejects. */
  readonly exited: Promise<End>;
  #output = "";
  #end: End | null = null;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.stderr!.on("data", (text: Buffer) => {
      this.#output = (this.#output + text.toString()).slice(-OUTPUT_MAX);
    });
    this.exited = new Promise((resolve) => {
      child.once("exit", (code, signal) => {
        this.#end = { code, signal };
        resolve(this.#end);
      });
    });
  }

  static spawn(role: Role, env: Readonly<Record<string, string>>): RoleProcess {
    return new RoleProcess(
      spawnLeashed(process.execPath, commandLine(role), { env: { ...process.env, ...env }, stdout: "ignore", stderr: "pipe" }),
    );
  }

  /** Resolves once the process says that it is ready for work. */
  static async start(role: Role, env: Readonly<Record<string, string>>): Promise<RoleProcess> {
    const started = RoleProcess.spawn(role, env);
    await started.ready();
    return started;
  }

  /** What it wrote last. */
  get output(): string {
    return this.#output;
  }

  get alive(): boolean {
    return this.#end === null;
  }

  /** kill -9: nothing is handed back. */
  async kill(): Promise<void> {
    this.signal("SIGKILL");
    await this.exited;
  }

  freeze(): Promise<void> {
    return freeze(this.#child);
  }

  thaw(): void {
    this.signal("SIGCONT");
  }

  /** Asks it to drain. Resolves to its exit code. */
  async stop(): Promise<number | null> {
    this.signal("SIGTERM");
    return (await this.exited).code;
  }

  signal(name: NodeJS.Signals): void {
    if (this.alive) this.#child.kill(name);
  }

  ready(): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`not ready in time: ${this.#output}`)), READY_MS);
      const look = () => {
        if (!/"msg":"(ready|listening)"/.test(this.#output)) return;
        clearTimeout(timer);
        this.#child.stderr!.off("data", look);
        resolve();
      };
      this.#child.stderr!.on("data", look);
      look();
      void this.exited.then(({ code, signal }) => {
        clearTimeout(timer);
        reject(new Error(`ended with ${code ?? signal}: ${this.#output}`));
      });
    });
  }
}
