import type { Worker } from "node:worker_threads";
import { ServingError } from "../../runtime/errors.ts";
import type { Allowed } from "../engine.ts";
import { startThread } from "../threads/start-thread.ts";
import { fromWire } from "../threads/wire-error.ts";
import { type Constraint, Following } from "./following.ts";
import type { Reply, Request } from "./thread.ts";
import type { Vocabulary } from "./trie.ts";

/** How long one call may take before it is given up, and the thread with it. */
interface GrammarTimes {
  /** Reading a schema and making its grammar. */
  readonly compileMs: number;
  /** Taking the next ids and making their masks. */
  readonly nextMs: number;
}

/** Calls that may wait for the thread. */
const PENDING_MAX = 2_048;
/** How long a client's schema waits for those before it. */
const WAIT_MS = 15_000;
const START_MS = 60_000;
/** How often a watchdog looks at the thread at work. */
const LOOK_MS = 250;

interface Pending {
  readonly sinceMs: number;
  readonly request: Exclude<Request, { kind: "close" }>;
  readonly resolve: (masks: readonly Allowed[] | null) => void;
  readonly reject: (error: ServingError) => void;
}

/**
 * Holds answers to schemas, in a thread of its own that starts when it is first needed. What a schema may cost is
 * counted, and one that costs too much is refused. So a late call is due to a busy machine: its caller may come again,
 * and the other callers wait only until a new thread has taken over. The thread does not keep the process alive.
 */
export class Grammars {
  readonly #vocabulary: Vocabulary;
  readonly #times: GrammarTimes;
  readonly #pending: Pending[] = [];
  #thread: Worker | null = null;
  #looks: NodeJS.Timeout | undefined;
  #lastAnswer = 0;

  constructor(vocabulary: Vocabulary, times: GrammarTimes) {
    this.#vocabulary = vocabulary;
    this.#times = times;
  }

  /** Rejects with INVALID_REQUEST if no answer can be held to `schema`. */
  async check(schema: string): Promise<void> {
    await this.#call({ kind: "check", schema });
  }

  /** Holds one answer to `constraint`. */
  follow(constraint: Constraint): Following {
    const answer = ++this.#lastAnswer;
    return new Following(
      constraint,
      this.#vocabulary.vocabSize,
      (request) => this.#call({ ...request, answer }),
      () => this.#thread?.postMessage({ kind: "close", answer } satisfies Request),
    );
  }

  async close(): Promise<void> {
    const closed = new ServingError("UNAVAILABLE", "the grammars were closed");
    for (const { reject } of this.#pending.splice(1)) reject(closed);
    await this.#giveUp(closed);
  }

  #call(request: Pending["request"]): Promise<readonly Allowed[] | null> {
    if (this.#pending.length >= PENDING_MAX)
      return Promise.reject(new ServingError("OVERLOADED", `${PENDING_MAX} calls wait for the grammars`));
    return new Promise((resolve, reject) => {
      this.#pending.push({ request, sinceMs: performance.now(), resolve, reject });
      if (this.#pending.length === 1) this.#begin();
    });
  }

  /** Begins the first pending call. */
  #begin(): void {
    this.#refuseLate();
    const [first] = this.#pending;
    if (first === undefined) this.#thread?.unref();
    else if (this.#thread === null) this.#start();
    else this.#post(this.#thread, first);
  }

  #post(thread: Worker, { request }: Pending): void {
    thread.ref();
    thread.postMessage(request);
    const { compileMs, nextMs } = this.#times;
    const ms = request.kind === "next" ? nextMs : compileMs;
    this.#watch(ms, new ServingError("UNAVAILABLE", `the schema was not checked within ${ms} ms`));
  }

  /** Counts looks, not time: a process that was suspended must not give up a thread that could not run. */
  #watch(ms: number, slow: ServingError): void {
    const lookMs = Math.min(LOOK_MS, ms);
    let leftMs = ms;
    this.#looks = setInterval(() => {
      leftMs -= lookMs;
      if (leftMs <= 0) void this.#giveUp(slow);
    }, lookMs);
  }

  /** Refuses only checks: a client can come again, while a worker holds on to its job and goes on waiting. */
  #refuseLate(): void {
    const isLate = ({ request, sinceMs }: Pending) => request.kind === "check" && performance.now() - sinceMs > WAIT_MS;
    while (this.#pending[0] !== undefined && isLate(this.#pending[0]))
      this.#pending.shift()!.reject(new ServingError("OVERLOADED", "too many schemas wait to be checked"));
  }

  #start(): void {
    const thread = startThread(import.meta.url, "./thread", { workerData: this.#vocabulary, name: "grammars" });
    this.#thread = thread;
    const ended = (cause: unknown) => {
      if (this.#thread === thread) void this.#giveUp(new ServingError("UNAVAILABLE", "the grammars' thread ended", { cause }));
    };
    thread.on("message", (reply: Reply) => {
      if (this.#thread === thread) this.#receive(reply);
    });
    thread.on("error", ended);
    thread.on("exit", ended);
    this.#watch(START_MS, new ServingError("UNAVAILABLE", "the grammars' thread does not start"));
  }

  #receive(reply: Reply): void {
    clearInterval(this.#looks);
    if (reply.kind !== "ready") {
      const { resolve, reject } = this.#pending.shift()!;
      if (reply.kind === "failed") reject(fromWire(reply.error));
      else resolve(reply.kind === "allowed" ? reply.masks : null);
    }
    this.#begin();
  }

  /** The first pending call is lost; the others go on with a new thread. */
  async #giveUp(error: ServingError): Promise<void> {
    clearInterval(this.#looks);
    const ended = this.#end();
    this.#pending.shift()?.reject(error);
    this.#begin();
    await ended;
  }

  async #end(): Promise<void> {
    const thread = this.#thread;
    this.#thread = null;
    await thread?.terminate();
  }
}
