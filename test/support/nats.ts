import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { spawnLeashed } from "../../services/cli/cluster/leash.ts";
import { freePort } from "../../services/cli/cluster/ports.ts";
import { withServers } from "../../services/cli/cluster/servers-path.ts";
import { freeze } from "./freeze.ts";

/** A real nats-server with JetStream on a loopback port of its own, in a directory of its own. */
export class NatsServer {
  readonly port: number;
  /** Its contents are deleted with the server. */
  readonly directory: string;
  readonly #more: string;
  #process: ChildProcess | null = null;

  private constructor(port: number, directory: string, more: string) {
    this.port = port;
    this.directory = directory;
    this.#more = more;
  }

  /** `directory`: where it stores, its own from then on; by default a new one. `more`: lines of its configuration. */
  static async start(directory = mkdtempSync(join(tmpdir(), "longshore-nats-")), more = ""): Promise<NatsServer> {
    const server = new NatsServer(await freePort(), directory, more);
    await server.restart();
    return server;
  }

  get url(): string {
    return `nats://127.0.0.1:${this.port}`;
  }

  /** Of the server that runs now. */
  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** Starts the server again on what it has stored. */
  async restart(): Promise<void> {
    const config = join(this.directory, "server.conf");
    // Room is only reserved: every cluster of a test asks for all that its streams may ever hold.
    const store = join(this.directory, "store");
    writeFileSync(
      config,
      `listen: "127.0.0.1:${this.port}"\njetstream { store_dir: "${store}", max_mem: 64GB, max_file: 1TB }\nmax_payload: 1MB\n${this.#more}`,
    );
    // Servers of 2.9 write files of a deleted consumer to where they were started.
    this.#process = spawnLeashed("nats-server", ["-c", config], {
      cwd: this.directory,
      env: withServers(process.env),
      stdout: "ignore",
      stderr: "ignore",
    });
    await listening(this.port, this.#process);
  }

  /** SIGKILL: what the operating system does not have yet is lost. SIGTERM: an orderly end. */
  async kill(signal: "SIGKILL" | "SIGTERM" = "SIGKILL"): Promise<void> {
    const process = this.#process;
    if (process === null) return;
    this.#process = null;
    const exited = once(process, "exit");
    process.kill("SIGCONT");
    process.kill(signal);
    await exited;
  }

  /** Kills the server and forgets everything it stored. */
  async wipe(): Promise<void> {
    await this.kill();
    rmSync(join(this.directory, "store"), { recursive: true, force: true });
  }

  /** Copies what is stored, as an operator does: the server is down meanwhile. Returns what brings that back. */
  async backUp(): Promise<() => Promise<void>> {
    const [store, backup] = [join(this.directory, "store"), join(this.directory, "backup")];
    await this.kill("SIGTERM");
    cpSync(store, backup, { recursive: true });
    await this.restart();
    return async () => {
      await this.kill("SIGTERM");
      rmSync(store, { recursive: true });
      cpSync(backup, store, { recursive: true });
      await this.restart();
    };
  }

  async freeze(): Promise<void> {
    if (this.#process !== null) await freeze(this.#process);
  }

  thaw(): void {
    this.#process?.kill("SIGCONT");
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

const START_MS = 60_000;

async function listening(port: number, process: ChildProcess): Promise<void> {
  for (const endMs = Date.now() + START_MS; Date.now() < endMs && process.exitCode === null; await sleep(10)) {
    const socket = connect(port, "127.0.0.1");
    const answered = await Promise.race([once(socket, "data"), once(socket, "error").catch((error: unknown) => error)]).then(
      Array.isArray,
      () => false,
    );
    socket.destroy();
    if (answered) return;
  }
  throw new Error(`nats-server did not start on port ${port}; is it installed (deploy/setup.sh test)?`);
}
