import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";

/** A role of the cluster as an operating system process, from the sources. */
export class RoleProcess {
  readonly #child: ChildProcess;
  #output = "";

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.stderr!.on("data", (text: Buffer) => {
      this.#output = (this.#output + text.toString()).slice(-20_000);
    });
  }

  /** Resolves once the process says that it is ready for work. */
  static async start(role: "prefill" | "decode", env: Readonly<Record<string, string>>): Promise<RoleProcess> {
    const args = ["--import", "tsx", "services/cli/main.ts", role];
    const child = spawn(process.execPath, args, { env: { ...process.env, ...env }, stdio: ["ignore", "ignore", "pipe"] });
    const started = new RoleProcess(child);
    await started.#ready();
    return started;
  }

  /** What it wrote last. */
  get output(): string {
    return this.#output;
  }

  /** kill -9: nothing is handed back. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  freeze(): void {
    this.#child.kill("SIGSTOP");
  }

  thaw(): void {
    this.#child.kill("SIGCONT");
  }

  /** Asks it to drain. Resolves to its exit code. */
  stop(): Promise<number | null> {
    return this.#end("SIGTERM");
  }

  async #end(signal: NodeJS.Signals): Promise<number | null> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return this.#child.exitCode;
    const exited = once(this.#child, "exit");
    this.#child.kill(signal);
    await exited;
    return this.#child.exitCode;
  }

  #ready(): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`not ready in time: ${this.#output}`)), 30_000);
      const look = () => {
        if (!this.#output.includes('"msg":"ready"')) return;
        clearTimeout(timer);
        resolve();
      };
      this.#child.stderr!.on("data", look);
      this.#child.once("exit", (code) => reject(new Error(`ended with ${code}: ${this.#output}`)));
    });
  }
}
