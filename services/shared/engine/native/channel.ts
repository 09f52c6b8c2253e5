import type { Worker, WorkerOptions } from "node:worker_threads";
import { ServingError } from "../../runtime/errors.ts";
import type { EngineInfo } from "../engine.ts";
import { startThread } from "../start-thread.ts";
import type { NativeOptions } from "./options.ts";
import { type CallKind, fromWire, type Input, type Output, type Reply } from "./protocol.ts";

/** Calls that wait for the thread. More would be a caller that does not wait for its answers. */
const PENDING_MAX = 16_384;
/** A call in progress ends within a chunk; a thread that does not is given up. */
const SHUTDOWN_MS = 30_000;

interface Pending {
  readonly resolve: (output: Output<CallKind>) => void;
  readonly reject: (error: ServingError) => void;
  readonly onProgress: ((layersDone: number) => void) | undefined;
}

/** The engine's thread seen from outside: requests out, answers in. When the thread dies, so does everything that waits for it. */
export class Channel {
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  #failure: ServingError | null = null;
  #lastId = 0;

  private constructor(worker: Worker) {
    this.#worker = worker;
  }

  /** Resolves once the model is open; rejects with the reason if it cannot be. `start`: another thread, in tests of its death. */
  static open(options: NativeOptions, start = startCore): Promise<{ channel: Channel; info: EngineInfo }> {
    const worker = start({ workerData: options, name: "engine" });
    const channel = new Channel(worker);
    return new Promise((resolve, reject) => {
      worker.on("message", (reply: Reply) => {
        if (reply.kind === "ready") resolve({ channel, info: reply.info });
        else if (reply.kind === "unready") reject(fromWire(reply.error));
        else channel.#receive(reply);
      });
      const died = (cause: unknown) => {
        channel.#fail(
          new ServingError("INTERNAL", `the engine's thread ended: ${cause instanceof Error ? cause.message : cause}`, { cause }),
        );
        reject(channel.#failure);
      };
      worker.on("error", died);
      worker.on("exit", (code) => died(`exit code ${code}`));
    });
  }

  /** Why nothing can be asked any more; null while all is well. */
  get failure(): ServingError | null {
    return this.#failure;
  }

  /** Throws where a call would not be taken: asked before memory is lent to one. */
  check(): void {
    if (this.#failure !== null) throw this.#failure;
    if (this.#pending.size >= PENDING_MAX) throw new ServingError("OVERLOADED", `${PENDING_MAX} calls wait for the engine`);
  }

  async call<K extends CallKind>(kind: K, input: Input<K>, onProgress?: (layersDone: number) => void): Promise<Output<K>> {
    this.check();
    const id = ++this.#lastId;
    return new Promise<Output<K>>((resolve, reject) => {
      this.#pending.set(id, { resolve: (output) => resolve(output as Output<K>), reject, onProgress });
      this.#worker.postMessage({ id, kind, input });
    });
  }

  /** After the calls in progress. Idempotent. */
  async shutdown(): Promise<void> {
    if (this.#failure !== null) return;
    const impatience = setTimeout(() => void this.#worker.terminate(), SHUTDOWN_MS);
    try {
      const done = this.call("shutdown", {});
      this.#failure = new ServingError("UNAVAILABLE", "the engine was shut down");
      await done;
    } finally {
      clearTimeout(impatience);
      await this.#worker.terminate();
    }
  }

  #receive(reply: Exclude<Reply, { readonly kind: "ready" | "unready" }>): void {
    const pending = this.#pending.get(reply.id);
    if (pending === undefined) return;
    if (reply.kind === "progress") {
      pending.onProgress?.(reply.layersDone);
      return;
    }
    this.#pending.delete(reply.id);
    if (reply.kind === "done") pending.resolve(reply.output);
    else pending.reject(fromWire(reply.error));
  }

  #fail(failure: ServingError): void {
    this.#failure ??= failure;
    for (const { reject } of this.#pending.values()) reject(this.#failure);
    this.#pending.clear();
  }
}

const startCore = (options: WorkerOptions): Worker => startThread(import.meta.url, "./thread", options);
