/**
 * A span of bytes with an owner. KV lives in native memory and crosses threads as a handle, so the receiver of a Memory
 * must release it. `bytes` must not be read or written after `release`.
 */
export interface Memory {
  readonly bytes: Uint8Array;
  /** Releases this reference. Idempotent. The bytes live on while another reference does. */
  release(): void;
}

/** Memory of the JavaScript heap, for boundaries and tests. */
export const heapMemory = (bytes: number | Uint8Array): Memory => ({
  bytes: typeof bytes === "number" ? new Uint8Array(bytes) : bytes,
  release: () => {},
});

/** Allocates exactly `bytes` bytes, zero or uninitialised, for a value that a store fetched. */
export type Allocate = (bytes: number) => Memory;
