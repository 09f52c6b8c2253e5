/**
 * A span of bytes with an owner. KV lives in native memory and crosses threads as a handle, so whoever receives a Memory says when it is
 * done with it. `bytes` must not be read or written after `release`.
 */
export interface Memory {
  readonly bytes: Uint8Array;
  /** Gives up this reference. Idempotent. The bytes live on while somebody else holds one. */
  release(): void;
}

/** Memory of the JavaScript heap, for tests. */
export const heapMemory = (bytes: number | Uint8Array): Memory => ({
  bytes: typeof bytes === "number" ? new Uint8Array(bytes) : bytes,
  release: () => {},
});

/** Where a store puts what it fetched: zero or uninitialised memory of exactly `bytes` bytes. */
export type Allocate = (bytes: number) => Memory;
