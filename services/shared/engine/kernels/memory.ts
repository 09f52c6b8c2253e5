import type { Memory } from "../../runtime/memory.ts";
import { calling, native } from "./native.ts";

/** The longest view that the addon gives. */
const VIEW_MAX_BYTES = 2 ** 31;

/**
 * A span of native memory: zero-filled, or a file mapped read-only. One object is
 * one reference; its maker releases it. Tensors borrow. `handle` is a process-wide
 * number: another thread turns it into a reference of its own with `adoptBuffer`.
 */
export class NativeBuffer implements Memory {
  readonly size: number;
  readonly #handle: number;
  #view: Uint8Array | null;
  #released = false;

  /**
   * Takes over one reference to `handle`, a buffer of `size` bytes. `view`: all of them, if a view was made already.
   */
  constructor(handle: number, size = calling(() => native().native.bufferBytes(handle)), view: Uint8Array | null = null) {
    this.#handle = handle;
    this.size = size;
    this.#view = view;
    forgotten.register(this, handle, this);
  }

  get handle(): number {
    if (this.#released) throw new TypeError("this buffer was released");
    return this.#handle;
  }

  /**
   * All bytes of a buffer of at most VIEW_MAX_BYTES; read a larger one piece by piece with `view`. Not valid after
   * `release`: a page's memory is used again.
   */
  get bytes(): Uint8Array {
    this.#view ??= viewOf(this.handle, this.size);
    return this.#view;
  }

  view(offset: number, length: number): Uint8Array {
    if (this.size <= VIEW_MAX_BYTES && offset + length <= this.size) return this.bytes.subarray(offset, offset + length);
    return new Uint8Array(calling(() => native().native.bufferView(this.handle, offset, length)));
  }

  /** Another reference to the same memory. */
  retain(): NativeBuffer {
    return new NativeBuffer(this.lend(), this.size);
  }

  /** Adds a reference for another thread and gives the number to send there; the receiver calls `adoptBuffer`. */
  lend(): number {
    calling(() => native().native.retain(this.handle));
    return this.#handle;
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#view = null;
    forgotten.unregister(this);
    native().native.release(this.#handle);
  }
}

/**
 * Pages share one ArrayBuffer with their region. An ArrayBuffer for each page would cost as much as reading the page,
 * and would count as memory for the garbage collector, which would then run every few megabytes.
 */
function viewOf(handle: number, size: number): Uint8Array {
  calling(() => native().native.bufferPlace(handle, place));
  return viewAtPlace(handle, size);
}

function viewAtPlace(handle: number, size: number): Uint8Array {
  const { native: n } = native();
  const [address, bytes, offset] = [place[0]!, place[1]!, place[2]!];
  if (bytes === size) return new Uint8Array(calling(() => n.bufferView(handle, 0, size)));
  const whole = regions.get(address) ?? calling(() => n.wholeView(handle));
  regions.set(address, whole);
  return new Uint8Array(whole, offset, size);
}

const place = new Float64Array(3);
/** By address. Regions are reused and never freed: as many as were ever in use at once. */
const regions = new Map<number, ArrayBuffer>();

/** One of many buffers of this size (a segment). Its memory is reused, and zero only if asked for. */
export const createPage = (bytes: number, zero: boolean): NativeBuffer => {
  const { native: n, library } = native();
  const handle = calling(() => n.pageCreate(library, bytes, zero, place));
  return new NativeBuffer(handle, bytes, bytes <= VIEW_MAX_BYTES ? viewAtPlace(handle, bytes) : null);
};

export const createBuffer = (bytes: number): NativeBuffer => {
  const { native: n, library } = native();
  return new NativeBuffer(
    calling(() => n.bufferCreate(library, bytes)),
    bytes,
  );
};

/**
 * Maps the whole file, read-only. Pages are read when they are touched; what the system caches in small pages may be
 * read again. Throws BAD_CHECKPOINT if the file cannot be mapped.
 */
export const mapFile = (path: string): NativeBuffer => {
  const { native: n, library } = native();
  return new NativeBuffer(calling(() => n.bufferMap(library, path)));
};

/** The receiving end of `lend`: takes over its reference. */
export const adoptBuffer = (handle: number): NativeBuffer => new NativeBuffer(handle);

/** Native handles alive in this process: for leak tests. */
export const liveHandles = (): number => native().native.handleCount();

/** Buffers collected without `release`: each is a bug of its owner. */
let forgottenCount = 0;
const forgotten = new FinalizationRegistry<number>((handle) => {
  native().native.release(handle);
  if (forgottenCount++ === 0)
    process.emitWarning("a native buffer was collected without release()", { code: "LONGSHORE_FORGOTTEN_BUFFER" });
});
