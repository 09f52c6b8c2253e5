import type { Worker } from "node:worker_threads";
import { ServingError } from "../../runtime/errors.ts";
import { fromWire, type WireError } from "./wire-error.ts";

/** A message to a thread. */
export interface ThreadCall<Request> {
  readonly id: number;
  readonly request: Request;
}

/** A message from it: first whether it can work, then an answer to each call. */
export type ThreadReply<Ready, Output> =
  | { readonly kind: "ready"; readonly ready: Ready }
  | { readonly kind: "unready"; readonly error: WireError }
  | { readonly kind: "progress"; readonly id: number; readonly done: number }
  | { readonly kind: "done"; readonly id: number; readonly output: Output }
  | { readonly kind: "failed"; readonly id: number; readonly error: WireError };

/**
 * Calls in a thread at one time. Requests are admitted before they come here;
 * this bound catches a caller that does not wait for its answers.
 */
const PENDING_MAX = 16_384;
/** A call in progress ends within a chunk; a thread that takes longer is given up. */
const SHUTDOWN_MS = 30_000;

interface Pending<Output> {
  readonly resolve: (output: Output) => void;
  readonly reject: (error: ServingError) => void;
  readonly onProgress: ((done: number) => void) | undefined;
}

/**
 * A thread that answers calls, seen from outside. When it dies, pending calls reject. It keeps the process alive only
 * while it opens and while calls are pending.
 */
export class ThreadCalls<Request, Output> {
  readonly #worker: Worker;
  readonly #name: string;
  readonly #pending = new Map<number, Pending<Output>>();
  #failure: ServingError | null = null;
  #lastId = 0;

  private constructor(worker: Worker, name: string) {
    this.#worker = worker;
    this.#name = name;
  }

  /** Resolves once the thread can work; rejects with the reason if it cannot. `name` is for messages. */
  static open<Ready, Request, Output>(
    worker: Worker,
    name: string,
  ): Promise<{ readonly thread: ThreadCalls<Request, Output>; readonly ready: Ready }> {
    const thread = new ThreadCalls<Request, Output>(worker, name);
    return new Promise((resolve, reject) => {
      worker.on("message", (reply: ThreadReply<Ready, Output>) => {
        if (reply.kind === "ready") {
          worker.unref();
          resolve({ thread, ready: reply.ready });
        } else if (reply.kind === "unready") {
          reject(fromWire(reply.error));
          void thread.close();
        } else thread.#receive(reply);
      });
      const died = (cause: unknown) => {
        thread.#fail(
          new ServingError("INTERNAL", `the ${name}'s thread ended: ${cause instanceof Error ? cause.message : cause}`, { cause }),
        );
        reject(thread.#failure);
      };
      worker.on("error", died);
      worker.on("exit", (code) => died(`exit code ${code}`));
    });
  }

  /** Why no call can be made any more; null while the thread works. */
  get failure(): ServingError | null {
    return this.#failure;
  }

  /** Throws if a call would be refused. Check before lending memory to one. */
  check(): void {
    if (this.#failure !== null) throw this.#failure;
    if (this.#pending.size >= PENDING_MAX) throw new ServingError("OVERLOADED", `${PENDING_MAX} calls wait for the ${this.#name}`);
  }

  async call(request: Request, onProgress?: (done: number) => void): Promise<Output> {
    this.check();
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#worker.postMessage({ id, request } satisfies ThreadCall<Request>); // throws if the request cannot be sent
      this.#pending.set(id, { resolve, reject, onProgress });
      this.#worker.ref();
    });
  }

  /** Ends the thread; calls in progress reject with UNAVAILABLE. Idempotent. */
  async close(): Promise<void> {
    this.#fail(this.#shutDown());
    await this.#worker.terminate();
  }

  /** Ends the thread with a last call, after those in progress. Idempotent. */
  async closeAfter(last: Request): Promise<void> {
    if (this.#failure !== null) return;
    const impatience = setTimeout(() => void this.#worker.terminate(), SHUTDOWN_MS);
    try {
      const done = this.call(last);
      this.#failure = this.#shutDown();
      await done;
    } finally {
      clearTimeout(impatience);
      await this.#worker.terminate();
    }
  }

  #receive(reply: Exclude<ThreadReply<never, Output>, { readonly kind: "ready" | "unready" }>): void {
    const pending = this.#pending.get(reply.id);
    if (reply.kind === "progress") {
      pending?.onProgress?.(reply.done);
      return;
    }
    this.#pending.delete(reply.id);
    if (this.#pending.size === 0) this.#worker.unref();
    if (reply.kind === "done") pending?.resolve(reply.output);
    else pending?.reject(fromWire(reply.error));
  }

  #fail(failure: ServingError): void {
    this.#failure ??= failure;
    for (const { reject } of this.#pending.values()) reject(this.#failure);
    this.#pending.clear();
  }

  readonly #shutDown = () => new ServingError("UNAVAILABLE", `the ${this.#name} was shut down`);
}
