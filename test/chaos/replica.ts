import { appendFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { LossyProxy } from "../support/proxy.ts";
import { type End, type Role, RoleProcess } from "../support/role-process.ts";

/** Time until an orchestrator has noticed and starts it again. */
const RESTART_MS = 250;

export interface ReplicaOptions {
  readonly name: string;
  readonly role: Role;
  readonly env: Readonly<Record<string, string>>;
  readonly natsPort: number;
  readonly redisPort: number;
  /** Everything the processes of this replica write is appended here. */
  readonly logPath: string;
}

/** A role kept alive as an orchestrator keeps it, with a network of its own to each store. */
export class Replica {
  readonly name: string;
  readonly role: Role;
  readonly links: { readonly nats: LossyProxy; readonly redis: LossyProxy };
  /** Processes that ended without being told to: each is a bug. */
  readonly crashes: string[] = [];
  restarts = 0;
  readonly #env: Readonly<Record<string, string>>;
  readonly #logPath: string;
  readonly #running: Promise<void>;
  #process: RoleProcess;
  #told: NodeJS.Signals | null = null;
  #stopping = false;

  private constructor({ name, role, env, logPath }: ReplicaOptions, links: Replica["links"]) {
    this.name = name;
    this.role = role;
    this.links = links;
    this.#logPath = logPath;
    const [nats, redis] = [`nats://127.0.0.1:${links.nats.port}`, `redis://127.0.0.1:${links.redis.port}`];
    this.#env = { ...env, LONGSHORE_NATS_URL: nats, LONGSHORE_REDIS_URL: redis };
    this.#process = this.#spawn();
    this.#running = this.#keep();
  }

  /** Resolves once the first process is ready. */
  static async start(options: ReplicaOptions): Promise<Replica> {
    const [nats, redis] = await Promise.all([LossyProxy.start(options.natsPort), LossyProxy.start(options.redisPort)]);
    const replica = new Replica(options, { nats, redis });
    await replica.ready();
    return replica;
  }

  ready(): Promise<void> {
    return this.#process.ready();
  }

  /** Whether this is the worker of that name, as it stands in the record. */
  is(worker: string): boolean {
    return this.#process.output.includes(worker);
  }

  /** kill -9, or SIGTERM: to drain. Resolves once it is ready again, to how it ended. */
  async end(signal: "SIGKILL" | "SIGTERM"): Promise<End> {
    const ending = this.#process;
    this.#told = signal;
    ending.signal(signal);
    const end = await ending.exited;
    while (this.#process === ending) await sleep(RESTART_MS / 5);
    await this.ready();
    return end;
  }

  async freeze(ms: number): Promise<void> {
    const frozen = this.#process;
    await frozen.freeze();
    await sleep(ms);
    frozen.thaw();
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#process.signal("SIGTERM");
    await this.#running;
    await Promise.all([this.links.nats.stop(), this.links.redis.stop()]);
  }

  #spawn(): RoleProcess {
    this.#told = null;
    return RoleProcess.spawn(this.role, this.#env);
  }

  async #keep(): Promise<void> {
    for (;;) {
      const end = await this.#process.exited;
      appendFileSync(this.#logPath, this.#process.output);
      const crash = crashOf(end, this.#told, this.#stopping);
      if (crash !== null) this.crashes.push(`${this.name} ${crash}; its output is in ${this.#logPath}`);
      if (this.#stopping) return;
      await sleep(RESTART_MS);
      this.restarts++;
      this.#process = this.#spawn();
      if (this.#stopping) this.#process.signal("SIGKILL");
    }
  }
}

/**
 * A process may end by a signal it was sent; told to drain, also with 0, or by killing itself when that takes too long.
 */
function crashOf({ code, signal }: End, told: NodeJS.Signals | null, stopping: boolean): string | null {
  if (told === "SIGKILL" && signal === "SIGKILL") return null;
  if ((told === "SIGTERM" || stopping) && (code === 0 || signal === "SIGKILL")) return null;
  return `ended with ${code ?? signal}`;
}
