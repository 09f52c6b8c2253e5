import type { Worker, WorkerOptions } from "node:worker_threads";
import type { ServingError } from "../../runtime/errors.ts";
import type { EngineInfo } from "../engine.ts";
import { startThread } from "../threads/start-thread.ts";
import { ThreadCalls } from "../threads/thread-calls.ts";
import type { NativeOptions } from "./options.ts";
import type { CallKind, Input, Output, Request } from "./protocol.ts";

/** The engine's thread seen from outside: requests out, answers in. */
export class Channel {
  readonly #thread: ThreadCalls<Request, Output<CallKind>>;

  private constructor(thread: ThreadCalls<Request, Output<CallKind>>) {
    this.#thread = thread;
  }

  /** Resolves once the model is open; rejects with the reason if it cannot be. `start`: another thread, in tests of its death. */
  static async open(options: NativeOptions, start = startCore): Promise<{ channel: Channel; info: EngineInfo }> {
    const worker = start({ workerData: options, name: "engine" });
    const { thread, ready } = await ThreadCalls.open<EngineInfo, Request, Output<CallKind>>(worker, "engine");
    return { channel: new Channel(thread), info: ready };
  }

  /** Why nothing can be asked any more; null while all is well. */
  get failure(): ServingError | null {
    return this.#thread.failure;
  }

  /** Throws where a call would not be taken: asked before memory is lent to one. */
  check(): void {
    this.#thread.check();
  }

  call<K extends CallKind>(kind: K, input: Input<K>, onProgress?: (layersDone: number) => void): Promise<Output<K>> {
    return this.#thread.call({ kind, input } as Request, onProgress) as Promise<Output<K>>;
  }

  /** After the calls in progress. Idempotent. */
  shutdown(): Promise<void> {
    return this.#thread.closeAfter({ kind: "shutdown", input: {} });
  }
}

const startCore = (options: WorkerOptions): Worker => startThread(import.meta.url, "./thread", options);
