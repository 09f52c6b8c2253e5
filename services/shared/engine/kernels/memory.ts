import type { Memory } from "../../runtime/memory.ts";
import { calling, native } from "./native.ts";

/** The longest view the addon gives. */
const VIEW_MAX_BYTES = 2 ** 31;

/**
 * A span of native memory: zero-filled, or a file mapped read-only. One object is one reference; whoever made it releases it. Tensors
 * borrow. `handle` is a process-wide number: another thread turns it into a reference of its own with `adoptBuffer`.
 */
export class NativeBuffer implements Memory {
  readonly size: number;
  readonly #handle: number;
  #view: Uint8Array | null;
  #released = false;

  /** Takes over one reference to `handle`, a buffer of `size` bytes; `view`: all of them, where somebody has looked already. */
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

  /** All bytes, of a buffer of at most VIEW_MAX_BYTES; a larger one is looked at piece by piece with `view`. Not to be used behind `release`: a page is then another's. */
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
 * Pages share one ArrayBuffer with their region: one of their own costs as much as reading them, and each would count as memory for the collector
 * to find, which then runs for every few megabytes.
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
/** By address. Regions are used again and never end: as many as were ever in use at once. */
const regions = new Map<number, ArrayBuffer>();

/** One of many buffers of this size (a segment): its memory is used again, and is zero only if asked for. */
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

/** The whole file, read-only. Its pages come in when they are touched; what the system's cache holds in small ones it may have to read again. Throws BAD_CHECKPOINT if it cannot be mapped. */
export const mapFile = (path: string): NativeBuffer => {
  const { native: n, library } = native();
  return new NativeBuffer(calling(() => n.bufferMap(library, path)));
};

/** The receiving end of `lend`: takes over that reference. */
export const adoptBuffer = (handle: number): NativeBuffer => new NativeBuffer(handle);

/** Everything native that is alive in this process: for tests of leaks. */
export const liveHandles = (): number => native().native.handleCount();

/** Of buffers that were collected without `release`: each is a bug of its owner. */
let forgottenCount = 0;
const forgotten = new FinalizationRegistry<number>((handle) => {
  native().native.release(handle);
  if (forgottenCount++ === 0)
    process.emitWarning("a native buffer was collected without release()", { code: "LONGSHORE_FORGOTTEN_BUFFER" });
});
