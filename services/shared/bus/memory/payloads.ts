import { ServingError } from "../../runtime/errors.ts";
import type { PayloadStore } from "../contract.ts";

export class MemoryPayloads implements PayloadStore {
  readonly #payloadBytesMax: number;
  readonly #totalBytesMax: number;
  readonly #values = new Map<string, Uint8Array>();
  #totalBytes = 0;

  constructor(payloadBytesMax: number, totalBytesMax: number) {
    this.#payloadBytesMax = payloadBytesMax;
    this.#totalBytesMax = totalBytesMax;
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    if (bytes.length > this.#payloadBytesMax)
      throw new ServingError("TOO_LARGE", `a payload may have at most ${this.#payloadBytesMax} bytes`);
    const others = this.#totalBytes - (this.#values.get(key)?.length ?? 0);
    if (others + bytes.length > this.#totalBytesMax) throw new ServingError("OVERLOADED", "the payload store is full; try again later");
    this.#values.set(key, bytes.slice());
    this.#totalBytes = others + bytes.length;
  }

  async get(key: string): Promise<Uint8Array | null> {
    return this.#values.get(key) ?? null;
  }

  async delete(key: string): Promise<void> {
    this.#totalBytes -= this.#values.get(key)?.length ?? 0;
    this.#values.delete(key);
  }
}
