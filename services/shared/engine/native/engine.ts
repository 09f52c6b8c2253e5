import type { Worker, WorkerOptions } from "node:worker_threads";
import type { ServingError } from "../../runtime/errors.ts";
import type { Memory } from "../../runtime/memory.ts";
import type {
  ChunkOptions,
  ChunkResult,
  Engine,
  EngineInfo,
  Opened,
  Sealed,
  SequenceId,
  SequenceStart,
  StepInput,
  StepResult,
} from "../engine.ts";
import { adoptBuffer, createPage, NativeBuffer } from "../kernels.ts";
import { startThread } from "../threads/start-thread.ts";
import { ThreadCalls } from "../threads/thread-calls.ts";
import { fromWire } from "../threads/wire-error.ts";
import type { NativeOptions } from "./options.ts";
import type { CallKind, Handle, Input, Output, Request } from "./protocol.ts";

export interface NativeEngine extends Engine {
  /** Why the engine cannot go on, for the health check; null while it works. */
  readonly failure: ServingError | null;
}

/**
 * Opens a checkpoint in a thread of its own. Rejects with BAD_CHECKPOINT, INVALID_REQUEST for the path, or UNAVAILABLE
 * where no kernels can run. `start` lets tests put another thread in its place, which dies.
 */
export async function openNativeEngine(options: NativeOptions, start = startCore): Promise<NativeEngine> {
  const worker = start({ workerData: options, name: "engine" });
  const { thread, ready } = await ThreadCalls.open<EngineInfo, Request, Output<CallKind>>(worker, "engine");
  return new ThreadEngine(thread, ready);
}

const startCore = (options: WorkerOptions): Worker => startThread(import.meta.url, "./thread", options);

class ThreadEngine implements NativeEngine {
  readonly info: EngineInfo;
  readonly #thread: ThreadCalls<Request, Output<CallKind>>;

  constructor(thread: ThreadCalls<Request, Output<CallKind>>, info: EngineInfo) {
    this.#thread = thread;
    this.info = info;
  }

  get failure(): ServingError | null {
    return this.#thread.failure;
  }

  allocate(bytes: number): Memory {
    return createPage(bytes, false);
  }

  async open({ segments, boundary }: SequenceStart): Promise<Opened> {
    this.#thread.check(); // references lent to a call that is refused would leak
    return this.#call("open", { segments: segments.map(lend), boundary });
  }

  async prefill(sequence: SequenceId, ids: Int32Array, { sample, allowed, onProgress, signal }: ChunkOptions = {}): Promise<ChunkResult> {
    signal?.throwIfAborted();
    const abort = signal === undefined ? null : new Int32Array(new SharedArrayBuffer(4));
    const onAbort = () => abort !== null && Atomics.store(abort, 0, 1);
    signal?.addEventListener("abort", onAbort, { once: true });
    const { layers } = this.info;
    const progressed = onProgress === undefined ? undefined : (layersDone: number) => onProgress(layersDone, layers);
    try {
      const input = { sequence, ids, sample, allowed, progress: onProgress !== undefined, abort };
      const { sealed, ...drawn } = await this.#call("prefill", input, progressed);
      return { ...drawn, sealed: sealed.map(adopt) };
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  async step(batch: readonly StepInput[]): Promise<StepResult[]> {
    const results = await this.#call("step", { batch });
    return results.map((result) =>
      "failed" in result ? { failed: fromWire(result.failed) } : { ...result, sealed: result.sealed.map(adopt) },
    );
  }

  boundary(sequence: SequenceId): Promise<Uint8Array> {
    return this.#call("boundary", { sequence });
  }

  async close(sequence: SequenceId): Promise<void> {
    if (this.failure === null) await this.#call("close", { sequence });
  }

  shutdown(): Promise<void> {
    return this.#thread.closeAfter({ kind: "shutdown", input: {} });
  }

  #call<K extends CallKind>(kind: K, input: Input<K>, onProgress?: (layersDone: number) => void): Promise<Output<K>> {
    return this.#thread.call({ kind, input } as Request, onProgress) as Promise<Output<K>>;
  }
}

/** Lends the thread a reference. Memory that is not native (a heap store's) is copied. */
function lend(memory: Memory): Handle {
  if (memory instanceof NativeBuffer) return memory.lend();
  const copy = createPage(memory.bytes.length, false);
  copy.bytes.set(memory.bytes);
  const handle = copy.lend();
  copy.release();
  return handle;
}

const adopt = ({ index, payload }: Sealed<Handle>): Sealed => ({ index, payload: adoptBuffer(payload) });
