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
import { fromWire } from "../threads/wire-error.ts";
import { Channel } from "./channel.ts";
import type { NativeOptions } from "./options.ts";
import type { SealedHandle } from "./protocol.ts";

export type { NativeOptions } from "./options.ts";

export interface NativeEngine extends Engine {
  /** Why the engine can do nothing any more: for the health check. null while all is well. */
  readonly failure: ServingError | null;
}

/** Opens a checkpoint in a thread of its own. Rejects with BAD_CHECKPOINT, INVALID_REQUEST for the path, or UNAVAILABLE where no kernels can run. */
export async function openNativeEngine(options: NativeOptions): Promise<NativeEngine> {
  const { channel, info } = await Channel.open(options);
  return new ThreadEngine(channel, info);
}

class ThreadEngine implements NativeEngine {
  readonly info: EngineInfo;
  readonly #channel: Channel;

  constructor(channel: Channel, info: EngineInfo) {
    this.#channel = channel;
    this.info = info;
  }

  get failure(): ServingError | null {
    return this.#channel.failure;
  }

  allocate(bytes: number): Memory {
    return createPage(bytes, false);
  }

  async open({ segments, boundary }: SequenceStart): Promise<Opened> {
    this.#channel.check();
    const opened = await this.#channel.call("open", { segments: segments.map(lend), boundary });
    return { ...opened, sequence: opened.sequence as SequenceId };
  }

  async prefill(
    sequence: SequenceId,
    ids: Int32Array,
    { sample = undefined, allowed, onProgress, signal }: ChunkOptions = {},
  ): Promise<ChunkResult> {
    signal?.throwIfAborted();
    const abort = signal === undefined ? null : new Int32Array(new SharedArrayBuffer(4));
    const onAbort = () => abort !== null && Atomics.store(abort, 0, 1);
    signal?.addEventListener("abort", onAbort, { once: true });
    const { layers } = this.info;
    const progressed = onProgress === undefined ? undefined : (layersDone: number) => onProgress(layersDone, layers);
    try {
      const input = { sequence, ids, sample: sample ?? null, allowed, progress: onProgress !== undefined, abort };
      const { sealed, ...drawn } = await this.#channel.call("prefill", input, progressed);
      return { ...drawn, sealed: sealed.map(adopt) };
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  async step(batch: readonly StepInput[]): Promise<StepResult[]> {
    const results = await this.#channel.call("step", { batch });
    return results.map((result) =>
      "failed" in result ? { failed: fromWire(result.failed) } : { ...result, sealed: result.sealed.map(adopt) },
    );
  }

  boundary(sequence: SequenceId): Promise<Uint8Array> {
    return this.#channel.call("boundary", { sequence });
  }

  async close(sequence: SequenceId): Promise<void> {
    if (this.failure === null) await this.#channel.call("close", { sequence });
  }

  shutdown(): Promise<void> {
    return this.#channel.shutdown();
  }
}

/** A reference for the thread. Memory that is not native (a store of the heap) is copied. */
function lend(memory: Memory): number {
  if (memory instanceof NativeBuffer) return memory.lend();
  const copy = createPage(memory.bytes.length, false);
  copy.bytes.set(memory.bytes);
  const handle = copy.lend();
  copy.release();
  return handle;
}

const adopt = ({ index, payload }: SealedHandle): Sealed => ({ index, payload: adoptBuffer(payload) });
