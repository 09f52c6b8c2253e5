import type { ChildProcess } from "node:child_process";
import { join } from "node:path";
import { finished } from "node:stream/promises";
import type { Clock } from "../../shared/runtime/clock.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import { spawnLeashed } from "./leash.ts";
import { LogFile } from "./log-file.ts";
import type { ProcessPlan } from "./plan.ts";
import { probe } from "./probe.ts";
import { withServers } from "./servers-path.ts";
import type { End } from "./start-failure.ts";

const PROBE_EVERY_MS = 50;
const RESTART_FIRST_MS = 250;
const RESTART_MAX_MS = 10_000;
/** Who ran for so long had come up: when it ends, that is a new trouble. */
const RAN_WELL_MS = 60_000;
const KILL_AFTER_MS = 15_000;
const LAST_WORDS_MS = 5_000;

export interface RunningProcess {
  readonly plan: ProcessPlan;
  readonly pid: number | undefined;
  readonly restarts: number;
}

export interface LaunchOptions {
  readonly stateDir: string;
  readonly startMs: number;
  /** Ends the start. */
  readonly signal: AbortSignal;
  readonly clock: Clock;
  /** The environment every process inherits. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly onStarted?: (process: RunningProcess) => void;
  readonly onExit?: (process: RunningProcess, how: string) => void;
  /** Output of a process could not be written to its log, for the first time. */
  readonly onLogLost?: (process: RunningProcess, cause: Error) => void;
}

/** A process ended before it was ready. */
export class EndedEarly extends Error {}

/** What of a process's output is kept to be told: an error with its causes and their stacks is long. */
const TAIL_CHARS = 32_000;

/** A process of a cluster: started, watched, started again while it should run. */
export class Supervised implements RunningProcess {
  restarts = 0;
  end: End | null = null;
  tail = "";
  readonly plan: ProcessPlan;
  #child: ChildProcess;
  readonly #options: LaunchOptions;
  readonly #output: LogFile;
  readonly #stopping = new AbortController();
  #exited: Promise<void>;

  constructor(plan: ProcessPlan, options: LaunchOptions) {
    this.plan = plan;
    this.#options = options;
    this.#output = new LogFile(this.logPath, (cause) => options.onLogLost?.(this, cause));
    this.#child = this.#start();
    this.#exited = this.#watch();
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  get logPath(): string {
    return join(this.#options.stateDir, `${this.plan.name}.log`);
  }

  async ready(): Promise<void> {
    const { clock, startMs, signal } = this.#options;
    const until = clock.monotonicMs() + startMs;
    for (;;) {
      const problem = await probe(this.plan.probe);
      signal.throwIfAborted();
      this.#stopping.signal.throwIfAborted();
      if (this.end !== null) throw new EndedEarly();
      if (problem === null) return;
      if (clock.monotonicMs() > until)
        throw new ServingError(
          "UNAVAILABLE",
          `${this.plan.name} did not become ready in ${startMs} ms (${problem}); its output is in ${this.logPath}`,
        );
      await clock.sleep(PROBE_EVERY_MS);
    }
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#child.kill("SIGTERM");
    const killer = setTimeout(() => this.#child.kill("SIGKILL"), KILL_AFTER_MS);
    await this.#exited;
    clearTimeout(killer);
    await this.#lastWords();
    this.#output.end();
  }

  /** What the process said before it ended may arrive after that; a child of its own could hold its output open. */
  async #lastWords(): Promise<void> {
    const signal = AbortSignal.timeout(LAST_WORDS_MS);
    const said = [this.#child.stdout, this.#child.stderr].filter((stream) => stream !== null);
    await Promise.all(said.map((stream) => finished(stream, { signal }).catch(() => stream.unpipe(this.#output))));
  }

  #start(): ChildProcess {
    const { env } = this.#options;
    const child = spawnLeashed(this.plan.program, this.plan.args, {
      env: { ...withServers(env), ...this.plan.env },
      stdout: "pipe",
      stderr: "pipe",
      detached: true, // Ctrl-C is for us alone: we stop them in order, the record last
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.pipe(this.#output, { end: false });
      stream.on("data", (text: Buffer) => {
        this.tail = (this.tail + text).slice(-TAIL_CHARS);
      });
    }
    return child;
  }

  /** Resolves when the process has ended for good; until then it is started again, each time a little later unless it ran well meanwhile. */
  async #watch(): Promise<void> {
    const { clock } = this.#options;
    for (let backoffMs = RESTART_FIRST_MS; ; backoffMs = Math.min(2 * backoffMs, RESTART_MAX_MS)) {
      const startMs = clock.monotonicMs();
      const { how, code } = await ended(this.#child);
      if (clock.monotonicMs() - startMs >= RAN_WELL_MS) backoffMs = RESTART_FIRST_MS;
      if (this.#stopping.signal.aborted) return;
      this.end ??= { ms: clock.monotonicMs(), how, code };
      this.#options.onExit?.(this, how);
      if (!this.plan.restarts) return;
      await clock.sleep(backoffMs, this.#stopping.signal).catch(() => {});
      if (this.#stopping.signal.aborted) return;
      this.restarts++;
      this.#child = this.#start();
    }
  }
}

const ended = (child: ChildProcess): Promise<Pick<End, "how" | "code">> =>
  new Promise((resolve) => {
    child.once("error", (error) => resolve({ how: error.message, code: null }));
    child.once("exit", (code, signal) => resolve({ how: signal === null ? `exit ${code}` : `signal ${signal}`, code }));
  });
