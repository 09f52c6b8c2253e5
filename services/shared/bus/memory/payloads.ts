import type { Clock } from "../../runtime/clock.ts";
import { ServingError } from "../../runtime/errors.ts";
import type { PayloadStore, Room } from "../contract.ts";

interface PayloadBounds {
  /** Of one payload. */
  readonly bytesMax: number;
  /** Of all together. */
  readonly totalBytesMax: number;
  readonly ageMsMax: number;
}

/** A payload store that lives and dies with the process. */
export class MemoryPayloads implements PayloadStore {
  readonly #bounds: PayloadBounds;
  readonly #clock: Clock;
  /** Oldest first. */
  readonly #values = new Map<string, { readonly bytes: Uint8Array; readonly putMs: number }>();
  #totalBytes = 0;

  constructor(bounds: PayloadBounds, clock: Clock) {
    this.#bounds = bounds;
    this.#clock = clock;
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    const { bytesMax, totalBytesMax } = this.#bounds;
    if (bytes.length > bytesMax) throw new ServingError("TOO_LARGE", `a payload may have at most ${bytesMax} bytes`);
    this.#forget();
    const others = this.#totalBytes - (this.#values.get(key)?.bytes.length ?? 0);
    if (others + bytes.length > totalBytesMax) throw new ServingError("OVERLOADED", "the payload store is full; try again later");
    this.#remove(key);
    this.#values.set(key, { bytes: bytes.slice(), putMs: this.#clock.monotonicMs() });
    this.#totalBytes += bytes.length;
  }

  async get(key: string): Promise<Uint8Array | null> {
    this.#forget();
    return this.#values.get(key)?.bytes ?? null;
  }

  async delete(key: string): Promise<void> {
    this.#remove(key);
  }

  async room(): Promise<Room> {
    this.#forget();
    return { bytes: this.#totalBytes, bytesMax: this.#bounds.totalBytesMax };
  }

  #remove(key: string): void {
    this.#totalBytes -= this.#values.get(key)?.bytes.length ?? 0;
    this.#values.delete(key);
  }

  #forget(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const [key, { putMs }] of this.#values) {
      if (nowMs - putMs < this.#bounds.ageMsMax) break;
      this.#remove(key);
    }
  }
}
