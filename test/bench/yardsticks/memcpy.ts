import { secondsOf } from "../bench.ts";

/** Memory of several buffers that is gone through in rotation, so that no cache answers for it. */
export class Rotation {
  readonly #buffers: readonly Buffer[];
  #buffer = 0;
  #offset = 0;

  /** Touched, so that every page is there. */
  constructor(bytes: number) {
    const size = Math.min(bytes, BUFFER_BYTES);
    this.#buffers = Array.from({ length: Math.ceil(bytes / size) }, (_, i) => Buffer.alloc(size, i + 1));
  }

  /** The next `bytes` bytes. */
  next(bytes: number): Buffer {
    if (this.#offset + bytes > this.#buffers[this.#buffer]!.length) {
      this.#buffer = (this.#buffer + 1) % this.#buffers.length;
      this.#offset = 0;
    }
    const span = this.#buffers[this.#buffer]!.subarray(this.#offset, this.#offset + bytes);
    this.#offset += bytes;
    return span;
  }
}

const BUFFER_BYTES = 268_435_456;

/** Bytes copied per second, `size` at a time, on one thread. */
export async function memcpyRate(from: Rotation, to: Rotation, size: number, count: number): Promise<number> {
  const seconds = await secondsOf(() => {
    for (let i = 0; i < count; i++) from.next(size).copy(to.next(size));
  });
  return (size * count) / seconds;
}
