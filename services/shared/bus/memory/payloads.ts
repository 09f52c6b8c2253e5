import type { Clock } from "../../runtime/clock.ts";
import { ServingError } from "../../runtime/errors.ts";
import type { PayloadStore, Room } from "../contract.ts";
import { Shelf } from "./shelf.ts";

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
  readonly #shelf: Shelf<Uint8Array>;

  constructor(bounds: PayloadBounds, clock: Clock) {
    this.#bounds = bounds;
    this.#shelf = new Shelf(bounds.ageMsMax, clock);
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    const { bytesMax, totalBytesMax } = this.#bounds;
    if (bytes.length > bytesMax) throw new ServingError("TOO_LARGE", `a payload may have at most ${bytesMax} bytes`);
    const others = this.#shelf.bytes - (this.#shelf.get(key)?.bytes ?? 0);
    if (others + bytes.length > totalBytesMax) throw new ServingError("OVERLOADED", "the payload store is full; try again later");
    this.#shelf.put(key, bytes.slice(), bytes.length);
  }

  async get(key: string): Promise<Uint8Array | null> {
    return this.#shelf.get(key)?.value ?? null;
  }

  async delete(key: string): Promise<void> {
    this.#shelf.delete(key);
  }

  async room(): Promise<Room> {
    return { bytes: this.#shelf.bytes, bytesMax: this.#bounds.totalBytesMax };
  }
}
